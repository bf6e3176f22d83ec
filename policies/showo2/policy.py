"""Show-o2 as a policy: it writes, draws and learns through one module.

Invariant: what is sampled is what would be learned, split by split, and drawings are learned from the
latents that were sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F

from policies import passed
from policies.adapted import Adapted
from policies.checks import require_options
from policies.flowing.sampler import drawn
from policies.flowing.samples import length
from policies.flowing.writing import Writer
from policies.interface import (
    Condition,
    Context,
    Example,
    LossKind,
    LossTerm,
    Output,
    Picture,
    PictureSampling,
    Segment,
    TextSampling,
    Unsupported,
)
from policies.sampling import Row, Sampled, sample
from policies.showo2 import checkpoint
from policies.showo2.layout import Layout, Shapes
from policies.showo2.module import ADAPTED, Reading, Showo2Module
from policies.showo2.samples import Sample
from policies.showo2.sequence import Batch, padded
from policies.teacher_forcing import chunks, totals


class Showo2Policy(Adapted[Showo2Module]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "showo2"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text", "latents"})
    picture_options: ClassVar[frozenset[str]] = frozenset(
        {"guidance", "image_guidance", "interval", "renorm", "steps", "shift", "size"}
    )
    adapted = ADAPTED

    def __init__(
        self, loaded: checkpoint.Loaded, training_shift: float | None = None,
        source: Path | None = None,
    ) -> None:  # fmt: skip
        self._loaded, self._source = loaded, source
        self.module, self.autoencoder = loaded.module, loaded.autoencoder
        reads = (
            self.module.config,
            loaded.form,
            loaded.tokenizer,
            self.autoencoder,
            training_shift,
        )
        self.layout, self._shapes = Layout(*reads), Shapes(*reads)

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

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        self.module.requires_grad_(False).to(place, kind)
        self.autoencoder.to(place)  # in float32, as latents are

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[TextSampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises PromptError."""
        if not contexts:
            return []
        written = self.sample_words(contexts, sampling, seeds).tokens
        return [self.text_of(ids.tolist()) for ids in written]

    def text_of(self, ids: Sequence[int]) -> str:
        text: str = self._loaded.tokenizer.decode(list(ids))
        return text

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids."""
        self._require_whole()
        distinct = list(dict.fromkeys(contexts))
        samples = [self.layout.context(context, drawing=False) for context in distinct]
        place = {context: i for i, context in enumerate(distinct)}
        rows = []
        for context, how, seed in zip(contexts, sampling, seeds, strict=True):
            i = place[context]
            self.layout.require_room(samples[i], context, how.max_tokens + 2)
            rows.append(Row((i,), how.temperature, 1.0, seed, how.max_tokens))
        writer = Writer(Reading(self.module), self.layout.form, samples)
        stop = self.layout.form.eos
        return sample(writer.prefill, writer.head, rows, 0, stop, keep_logits, self._device)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        self._require_whole()
        require_options(self.family, self.picture_options, sampling)
        return drawn(self.module, self.layout, contexts, sampling, seeds)

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        samples, targets = zip(*map(self.layout.lesson, examples), strict=True)
        batch = self._arranged(samples)
        read = self.module(batch)
        words, values = zip(*map(self.layout.counts, examples), strict=True)
        # Both sums are in each term, if only as 0: workers that learn other kinds in one step must
        # have gradients of the same parameters.
        none = 0.0 * (read.logits.sum() + read.velocities.sum())
        terms: dict[LossKind, LossTerm] = {}
        if len(batch.labels):
            nats = F.cross_entropy(read.logits, batch.labels, reduction="none")
            terms["text"] = LossTerm(totals(nats, words) + none, len(nats))
        wanted = [velocity for velocity in targets if velocity is not None]
        if wanted:
            target = torch.cat(wanted).to(self._device)
            errors = F.mse_loss(read.velocities, target, reduction="none").flatten()
            terms["latents"] = LossTerm(totals(errors, values) + none, len(errors))
        return terms

    def _arranged(self, samples: Sequence[Sample]) -> Batch:
        """The flow head reads only where something is drawn."""
        passed.add(sum(map(length, samples)))
        return padded(samples, self.module.config, whole=False).on(self._device)

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return [self._shapes.places(example) for example in examples]

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts = [self.layout.counts(example) for example in examples]
        kinds: tuple[LossKind, LossKind] = ("text", "latents")
        summed = {kind: sum(c[i] for c in counts) for i, kind in enumerate(kinds)}
        return {kind: count for kind, count in summed.items() if count}

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError, Unsupported."""
        if any(isinstance(target, Picture) for target in targets):
            raise Unsupported(
                "the likelihood of a picture: family showo2 draws by a flow, which gives none; score "
                "texts alone"
            )
        found: list[np.ndarray] = []
        for part in chunks(len(targets)):
            found += self._scored(contexts[part], targets[part])
        return found

    def _scored(self, contexts: Sequence[Context], targets: Sequence[Segment]) -> list[np.ndarray]:
        samples = []
        for context, target in zip(contexts, targets, strict=True):
            assert isinstance(target, str)
            splits = [*self.layout.context(context, drawing=False), *self.layout.answer(target)]
            self.layout.require_room(splits, context)
            samples.append(splits)
        batch = self._arranged(samples)
        nats = F.cross_entropy(self.module(batch).logits, batch.labels, reduction="none")
        return [-own.cpu().numpy() for own in nats.split([each[-1].places for each in samples])]

    def _read_again(self) -> Self:
        assert self._source is not None, "adapters learn beside a checkpoint"
        return type(self).from_pretrained(self._source)

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The head of words, where it is not the table that prompts are read by: all else draws too."""
        found = self.weights()
        return {checkpoint.WRITTEN: slice(None)} if checkpoint.WRITTEN in found else {}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return self.module.units()

    @property
    def _device(self) -> torch.device:
        return self.module.showo.lm_head.weight.device
