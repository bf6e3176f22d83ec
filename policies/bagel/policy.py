"""BAGEL as a policy: it writes, draws and learns through one module.

Invariant: what is sampled is what would be learned, split by split, and drawings are learned from
the latents that were sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch

from policies.bagel import checkpoint, planning
from policies.bagel.autoencoder import Autoencoder
from policies.bagel.layout import Layout, Shapes
from policies.bagel.module import ADAPTED, BagelModule
from policies.bagel.samples import Sample
from policies.bagel.sequence import Batch, packed, padded
from policies.checks import require_options
from policies.flowing.policy import FlowingPolicy
from policies.flowing.sampler import drawn
from policies.flowing.writing import written
from policies.interface import (
    Condition,
    Context,
    Output,
    PictureSampling,
    TextSampling,
    learned,
)
from policies.seeds import derive


class BagelPolicy(FlowingPolicy[BagelModule]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "bagel"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text", "latents", "features"})
    layout: Layout
    autoencoder: Autoencoder

    def __init__(
        self, loaded: checkpoint.Loaded, training_shift: float | None = None, think: int = 0,
        adapters: str = "all", source: Path | None = None,
    ) -> None:  # fmt: skip
        self._loaded, self._source, self.adapted = loaded, source, ADAPTED[adapters]
        self.think = think
        self.module, self.autoencoder = loaded.module, loaded.autoencoder
        config = self.module.config
        shift = config.timestep_shift if training_shift is None else training_shift
        reads = (config, loaded.form, loaded.tokenizer, self.autoencoder, loaded.limits, shift)
        self.layout, self.shapes = Layout(*reads), Shapes(*reads)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, dtype: str = "float32", *, training_shift: float | None = None,
        think: int = 0, adapters: str = "all",
    ) -> Self:  # fmt: skip
        """Raises CheckpointError."""
        loaded = checkpoint.load(Path(path), getattr(torch, dtype))
        made = cls(loaded, training_shift, think, adapters, Path(path))
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout that BAGEL was released in."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    @property
    def reader(self) -> BagelModule:
        return self.module

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        self._require_whole()
        require_options(self.family, self.picture_options, sampling)
        if not self.think or not contexts:
            return drawn(self.module, self.layout, contexts, sampling, seeds)
        asked = [planning.instructed(context) for context in contexts]
        plans = self._plans(asked, seeds)
        after = [(*context, plan) for context, plan in zip(asked, plans, strict=True)]
        pictures = drawn(self.module, self.layout, after, sampling, seeds)
        return [(*learned(p), *output) for p, output in zip(plans, pictures, strict=True)]

    def _plans(self, contexts: Sequence[Context], seeds: Sequence[int]) -> list[str]:
        """With a chance of their own: the noise of a drawing is that of the row's seed."""
        how = [TextSampling(planning.TEMPERATURE, self.think)] * len(contexts)
        own = [derive("plan", int(seed)) for seed in seeds]
        plans = written(self.module, self.layout, contexts, how, own, drawing=True).tokens
        return [self.text_of(ids.tolist()) for ids in plans]

    # Learning

    def padded(self, samples: Sequence[Sample]) -> Batch:
        return padded(samples, self.layout.form)

    def packed(self, samples: Sequence[Sample]) -> Batch:
        """On a GPU in one row, where flex_attention skips what no sample sees; dense masks of a CPU
        would be as large as the square of it."""
        on_gpu = self.device.type == "cuda"
        return packed(samples, self.layout.form) if on_gpu else self.padded(samples)

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The encoder of pictures and its connector, and the head of words where no plan is written
        before a drawing. Not the expert of words: drawing reads its prompt by it."""
        parts = ("vit_model.", "connector.", *(() if self.think else ("language_model.lm_head.",)))
        return {name: slice(None) for name in self.weights() if name.startswith(parts)}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return self.module.units()
