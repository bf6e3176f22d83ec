"""Weights that learn, all of them or only adapters beside them: what families do alike with either.

Invariant: while adapters learn, nothing is sampled, saved or loaded; what is published has the base's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch

from policies import lora
from policies.checks import take_weights

Module = TypeVar("Module", bound=torch.nn.Module)


class Adapted(Generic[Module]):
    """That part of `policies.interface.Policy`. A family sets `module`, `adapted`, the whole names of the
    layers that adapters sit on, as a pattern, and `_source`, the checkpoint that it was read from."""

    family: ClassVar[str]
    module: Module
    adapted: str
    _source: Path | None
    _adapters = 0.0
    """What adapters are scaled by; 0: none learn."""

    @property
    def device(self) -> torch.device:
        """Where the weights that learn are."""
        return next(self.module.parameters()).device

    def adapt(self, rank: int, alpha: int) -> None:
        """Raises ConfigError."""
        lora.adapt(self.module, self.adapted, rank, alpha)
        self._adapters = alpha / rank

    def published(self, trained: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if not self._adapters:
            return trained
        # Read again: by now the base is sharded over the ranks, or on a GPU.
        return lora.merge(self._read_again().weights(), trained, self._adapters)

    def _read_again(self) -> Adapted[Module]:
        """The policy as its checkpoint has it."""
        assert self._source is not None, "adapters learn beside a checkpoint"
        own: Any = type(self)
        read: Adapted[Module] = own.from_pretrained(self._source)
        return read

    def weights(self) -> dict[str, np.ndarray]:
        """What learns, as float32, all of `module` or the adapters: views where it is that on a CPU."""
        ends = (lora.DOWN, lora.UP) if self._adapters else ("",)
        return {
            name: weight.detach().to("cpu", torch.float32).numpy()
            for name, weight in self.module.named_parameters()
            if name.endswith(ends)
        }

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """The arrays become the weights, which from now on are not trained; a copy of them where
        `sample_on` chose another type or a GPU. Raises CheckpointError."""
        self._require_whole()
        take_weights(self.module, weights)

    def _require_whole(self) -> None:
        lora.require_whole(self._adapters, self.family)
