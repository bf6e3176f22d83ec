"""What a unified multimodal model is, to the rest of the program.

Invariant: everything a model reads or learns from is an interleaved sequence of
segments (paper, equation 1), and nothing outside `policies/` knows one family
of models from another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self, get_args

import numpy as np
import torch

from policies.errors import UserError
from policies.seeds import generator

Pattern = Literal["generation", "caption", "judgement", "reflection"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)

LossKind = Literal["text", "codes", "latents"]
"""What a loss is summed over: nats of text tokens, nats of image tokens, squared errors of latent
values. The sums of one kind can be added; those of two cannot."""
LOSS_KINDS: tuple[LossKind, ...] = get_args(LossKind)

Condition = Literal["text", "latents", "features"]
"""What of a context can be left out while a drawing is learned: its texts, its pictures as the
decoder's latents, its pictures as the encoder's features."""
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


class PromptError(UserError, ValueError):
    """A text or a picture that the policy cannot read; the message names the word, or the size, and the fix."""


class CheckpointError(UserError, ValueError):
    """A checkpoint that is missing, damaged or of another model; the message names the file."""


class Unsupported(UserError, TypeError):
    """Something that a family of models cannot do; the message names the family and what it can."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing: `pixels` are uint8 [height, width, 3]. What was sampled is in `codes`, int32
    [tokens], or in `latents`, on the CPU and of any dtype and shape.

    A policy that has them trains on them as they were sampled, never on re-encoded pixels.
    """

    pixels: np.ndarray
    codes: np.ndarray | None = None
    latents: torch.Tensor | None = None


Segment = str | Picture
Context = tuple[Segment, ...]


@dataclass(frozen=True)
class Part:
    """One piece of what a model produced or shall produce. One that is not `learned` was put in by
    somebody else, such as a tool: it is context for the parts after it."""

    segment: Segment
    learned: bool = True


Output = tuple[Part, ...]
"""What `draw` produced, and what an example teaches: one picture, or a plan and the picture, or a
call of a tool and the tool's picture, or only text."""


def learned(*segments: Segment) -> Output:
    """These segments, all of them learned."""
    return tuple(Part(segment) for segment in segments)


def last_picture(output: Output) -> Picture | None:
    """The picture that an output came to: what is judged and shown."""
    pictures = [part.segment for part in output if isinstance(part.segment, Picture)]
    return pictures[-1] if pictures else None


@dataclass(frozen=True)
class ExampleKey:
    """Names an example among those of its pattern, in the run with this `seed`. `repeat` counts the
    times that it was given again because others were too few."""

    seed: int = 0
    round: int = 0
    group: int = 0
    epoch: int = 1
    repeat: int = 0


@dataclass(frozen=True)
class Example:
    """One training example: predict the learned parts of `target` after `context` (paper, section
    3.3.2), as if the `dropped` conditions of the context were not there, which only drawings have.

    Every random choice of its loss (timesteps, noise, masks) comes from `random`, so that the loss
    is a function of the weights and the example alone.
    """

    context: Context
    target: Output
    pattern: Pattern
    key: ExampleKey = ExampleKey()
    dropped: frozenset[Condition] = frozenset()
    worse: Output = ()
    """What came of the same context and was judged worse; `loss` does not look at it."""

    def random(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, the same in every process."""
        key = self.key
        name = (key.seed, key.round, key.group, key.epoch, *([key.repeat] if key.repeat else ()))
        return generator("example", *name, self.pattern, purpose)

    @property
    def draws(self) -> bool:
        """Whether a picture is learned."""
        return any(isinstance(part.segment, Picture) and part.learned for part in self.target)


@dataclass(frozen=True)
class TextSampling:
    """How one text is sampled. `temperature` 0 is greedy."""

    temperature: float = 1.0
    max_tokens: int = 64


@dataclass(frozen=True)
class PictureSampling:
    """How one drawing is sampled. A field at its default means what the family itself does.

    `temperature` 0 is greedy. `guidance` scales the text's influence and `image_guidance` that of
    the context's pictures (1: unguided; how, the family's reference says), over the part `interval`
    of the time from 0, the picture, to 1, the noise, with norms restored as `renorm` says ("global",
    "channel", ...). `steps` and `shift` are those of the solver of a flow (0: the family's own),
    `size` is height and width in pixels (0: its own).
    """

    temperature: float = 1.0
    guidance: float = 1.0
    image_guidance: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    renorm: str = "none"
    steps: int = 0
    shift: float = 0.0
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class LossTerm:
    """`totals` are the summed losses of each example, in their order (float [examples], with
    gradient; 0 where an example has nothing of the kind), over `count` tokens or latent values of
    all of them."""

    totals: torch.Tensor
    count: int

    @property
    def total(self) -> torch.Tensor:
        """Over all examples, a scalar."""
        return self.totals.sum()


class Policy(Protocol):
    """One model that writes, draws and learns. Rows are independent: row i depends on its own
    context, sampling and seed, and on the shape of the batch it is in."""

    family: ClassVar[str]
    conditions: ClassVar[frozenset[Condition]]
    """What `loss` can leave out of a context."""
    picture_options: ClassVar[frozenset[str]]
    """The fields of PictureSampling that `draw` knows; it refuses any other that is not at its
    default (`policies.checks.require_options`)."""

    module: torch.nn.Module
    """The trainable root; all compute of `loss` goes through its `forward` (FSDP2 needs it).
    Frozen parts, such as tokenizers, autoencoders and decoders, are not in it."""

    @classmethod
    def from_pretrained(cls, path: str | Path, dtype: str = "float32") -> Self:
        """On the CPU; in "bfloat16", where the family can sample in it, without ever holding the
        weights in float32: such a policy does not learn. A family takes the options that its
        section has (`PolicyConfig.options`) by name as well, with the section's defaults. Raises
        CheckpointError, and ConfigError for a dtype that it cannot sample in."""
        ...

    def sample_on(self, device: str, dtype: str) -> None:
        """Moves to "cpu" or "cuda", to sample there in "float32" or "bfloat16" from now on; the
        policy does not learn any more. Raises ConfigError where the family cannot."""
        ...

    def save_pretrained(self, path: str | Path) -> None: ...

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[TextSampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises PromptError for a text that the model cannot read."""
        ...

    def text_of(self, ids: Sequence[int]) -> str:
        """What `write` makes of the ids of words, such as `policies.listening` tells."""
        ...

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Usually one picture each. An output without a picture is a drawing that failed. Raises
        PromptError, and ConfigError for an option that the family does not know."""
        ...

    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """The log-probability of every token of each target after its context, float32 [tokens],
        of a text with the token that ends it: by what `write` and `draw` sample from at
        temperature 1, unguided. No gradient. Raises PromptError, and Unsupported for pictures
        where the family has no likelihood of them."""
        ...

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """The counts of `loss` of the same examples, without a forward pass. Raises PromptError."""
        ...

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """How many tokens of each example pass forward in `loss`, padding apart: those of its whole
        context and target. Cheap, for every worker asks it of every example. Raises PromptError,
        and Unsupported as `loss` does."""
        ...

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """The loss of the learned parts, a term for each kind that is there; the examples of one
        call share their pattern. An example's part of it depends on nothing but the weights and
        the example (`Example.random`). Raises PromptError, and Unsupported for a target that the
        family has no layout for."""
        ...

    def adapt(self, rank: int, alpha: int) -> None:
        """From now on only low-rank adapters learn (LoRA). Raises ConfigError where the family has
        none."""
        ...

    def published(self, trained: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What replicas are to load where `weights()` has become `trained`: the same, unless only
        adapters learn."""
        ...

    def weights(self) -> dict[str, np.ndarray]:
        """What learns, float32 by its name in `module.state_dict()`, without a copy; never a frozen
        part."""
        ...

    def understanding(self) -> dict[str, slice]:
        """Which rows of which `weights()` nothing but understanding and writing need: the drawing of a
        text is the same, to the bit, whatever they are. Empty where all are shared."""
        ...

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Takes arrays that are all float32, or all uint16 and then bfloat16's bits (numpy has no
        bfloat16): as they are and without a copy where replicas hold that dtype. They are never
        written to. Raises CheckpointError."""
        ...

    def fsdp_units(self) -> list[torch.nn.Module]:
        """The submodules to shard, in the order in which `forward` runs them."""
        ...
