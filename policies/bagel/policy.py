"""BAGEL as a policy: it writes, draws and learns through one module.

Invariant: what is sampled is what would be learned, split by split, and drawings are learned from
the latents that were sampled.
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
from policies.bagel import checkpoint, planning
from policies.bagel.layout import Layout, Shapes
from policies.bagel.module import ADAPTED, BagelModule
from policies.bagel.samples import Sample
from policies.bagel.sequence import Batch, packed, padded
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
    learned,
)
from policies.sampling import Row, Sampled, sample
from policies.seeds import derive
from policies.teacher_forcing import chunks, totals


class BagelPolicy(Adapted[BagelModule]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "bagel"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text", "latents", "features"})
    picture_options: ClassVar[frozenset[str]] = frozenset(
        {"guidance", "image_guidance", "interval", "renorm", "steps", "shift", "size"}
    )

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
        self.layout, self._shapes = Layout(*reads), Shapes(*reads)

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

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        self.module.requires_grad_(False).to(place, kind)
        self.autoencoder.to(place)  # in float32, as it was released

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
        drawing: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids; `drawing` says whether contexts are read as to draw."""
        self._require_whole()
        distinct = list(dict.fromkeys(contexts))
        samples = [self.layout.context(context, drawing) for context in distinct]
        place = {context: i for i, context in enumerate(distinct)}
        rows = []
        for context, how, seed in zip(contexts, sampling, seeds, strict=True):
            i = place[context]
            self.layout.require_room(samples[i], context, how.max_tokens + 2)
            rows.append(Row((i,), how.temperature, 1.0, seed, how.max_tokens))
        writer = Writer(self.module, self.layout.form, samples)
        head, stop = writer.head, self.layout.form.eos
        return sample(writer.prefill, head, rows, 0, stop, keep_logits, self._device)

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
        written = self.sample_words(contexts, how, own, drawing=True).tokens
        return [self.text_of(ids.tolist()) for ids in written]

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError."""
        if not examples:
            return {}
        lessons = [each for example in examples for each in self.layout.lessons(example)]
        batch = self._arranged([splits for splits, _ in lessons])
        read = self.module(batch)
        words, values = zip(*map(self.layout.counts, examples), strict=True)
        # Both sums are in each term, if only as 0: workers that learn other kinds in one step must
        # have gradients of the same parameters.
        none = 0.0 * (read.logits.sum() + read.velocities.sum())
        terms: dict[LossKind, LossTerm] = {}
        if len(batch.labels):
            nats = F.cross_entropy(read.logits, batch.labels, reduction="none")
            terms["text"] = LossTerm(totals(nats, words) + none, len(nats))
        wanted = [velocity for _, velocities in lessons for velocity in velocities]
        if wanted:
            target = torch.cat(wanted).to(self._device)
            errors = F.mse_loss(read.velocities, target, reduction="none").flatten()
            terms["latents"] = LossTerm(totals(errors, values) + none, len(errors))
        return terms

    def _arranged(self, samples: Sequence[Sample]) -> Batch:
        """On a GPU in one row, where flex_attention skips what no sample sees; dense masks of a CPU
        would be as large as the square of it."""
        passed.add(sum(map(length, samples)))
        arrange = packed if self._device.type == "cuda" else padded
        return arrange(samples, self.layout.form).on(self._device)

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError."""
        return [self._shapes.places(example) for example in examples]

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError."""
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
                "the likelihood of a picture: family bagel draws by a flow, which gives none; score "
                "texts alone"
            )
        found: list[np.ndarray] = []
        for part in chunks(len(targets)):
            found += self._scored(contexts[part], targets[part])
        return found

    def _scored(self, contexts: Sequence[Context], targets: Sequence[Segment]) -> list[np.ndarray]:
        samples, counts = [], []
        for context, target in zip(contexts, targets, strict=True):
            assert isinstance(target, str)
            text = self.layout.text(target, learned=True)
            splits = [*self.layout.context(context, drawing=False), text]
            self.layout.require_room(splits, context)
            samples.append(splits)
            counts.append(len(text.ids) + 1)
        batch = padded(samples, self.layout.form).on(self._device)
        nats = F.cross_entropy(self.module(batch).logits, batch.labels, reduction="none")
        return [-own.cpu().numpy() for own in nats.split(counts)]

    def _read_again(self) -> Self:
        assert self._source is not None, "adapters learn beside a checkpoint"
        return type(self).from_pretrained(self._source)

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The encoder of pictures and its connector, and the head of words where no plan is written
        before a drawing. Not the expert of words: drawing reads its prompt by it."""
        parts = ("vit_model.", "connector.", *(() if self.think else ("language_model.lm_head.",)))
        return {name: slice(None) for name in self.weights() if name.startswith(parts)}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return self.module.units()

    @property
    def _device(self) -> torch.device:
        return self.module.language_model.lm_head.weight.device
