"""Show-o2 as a policy: it writes, draws and learns through one module.

Invariant: what is sampled is what would be learned, split by split, and drawings are learned from the
latents that were sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch

from policies.checks import require_options
from policies.flowing.policy import FlowingPolicy
from policies.flowing.sampler import drawn
from policies.interface import Condition, Context, Output, PictureSampling
from policies.showo2 import checkpoint
from policies.showo2.layout import Layout, Shapes
from policies.showo2.module import ADAPTED, Reading, Showo2Module
from policies.showo2.samples import Sample
from policies.showo2.sequence import Batch, padded


class Showo2Policy(FlowingPolicy[Showo2Module]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "showo2"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text", "latents"})
    adapted = ADAPTED

    def __init__(
        self, loaded: checkpoint.Loaded, training_shift: float | None = None,
        source: Path | None = None,
    ) -> None:  # fmt: skip
        self._loaded, self._source = loaded, source
        self.module, self.autoencoder = loaded.module, loaded.autoencoder
        config, autoencoder = self.module.config, self.autoencoder
        reads = (config, loaded.form, loaded.tokenizer, autoencoder, training_shift)
        self.layout, self.shapes = Layout(*reads), Shapes(*reads)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, dtype: str = "float32", *, training_shift: float | None = None
    ) -> Self:
        """Raises CheckpointError."""
        loaded = checkpoint.load(Path(path), getattr(torch, dtype))
        made = cls(loaded, training_shift, Path(path))
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout that Show-o2 was released in."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    @property
    def reader(self) -> Reading:
        return Reading(self.module)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        self._require_whole()
        require_options(self.family, self.picture_options, sampling)
        return drawn(self.module, self.layout, contexts, sampling, seeds)

    # Learning

    def padded(self, samples: Sequence[Sample]) -> Batch:
        """The flow head reads only where something is drawn."""
        return padded(samples, self.module.config, whole=False)

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The head of words, where it is not the table that prompts are read by: all else draws too."""
        found = self.weights()
        return {checkpoint.WRITTEN: slice(None)} if checkpoint.WRITTEN in found else {}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return self.module.units()
