"""What a sample is: texts and pictures in turn, before they are put into a batch.

Invariant: a text is [bos] ids [eos]; a picture is [start] its tokens [end], all of them at one
position of the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from policies.bagel.config import BagelConfig
from policies.flowing.samples import Grid


@dataclass(frozen=True)
class Text:
    """Ids without bos and eos. Of a learned one every id and the eos are scored."""

    ids: Sequence[int]
    learned: bool = False

    @property
    def places(self) -> int:
        return 2 + len(self.ids)


class _Marked:
    """A picture takes a place for each token, and one for each of the marks around them."""

    grid: Grid

    @property
    def places(self) -> int:
        return 2 + self.grid[0] * self.grid[1]


@dataclass(frozen=True, eq=False)
class Features(_Marked):
    """A picture for the encoder: patches float [tokens, patch values]."""

    patches: Tensor
    grid: Grid


@dataclass(frozen=True, eq=False)
class Latents(_Marked):
    """A picture as clean latents, float [tokens, latent values]."""

    tokens: Tensor
    grid: Grid


@dataclass(frozen=True, eq=False)
class Noise(_Marked):
    """A picture to draw at this time of the flow, float [tokens, latent values]."""

    tokens: Tensor
    grid: Grid
    time: float


@dataclass(frozen=True)
class Absent:
    """A picture that training leaves out: its position is passed over. A text that is left out
    leaves nothing, and so does all that sampling without guidance leaves out."""

    @property
    def places(self) -> int:
        return 0


Split = Text | Features | Latents | Noise | Absent
Sample = Sequence[Split]


@dataclass(frozen=True)
class Format:
    """The ids of the marks, and the sizes of tables and tokens."""

    bos: int
    eos: int
    start: int
    end: int
    feature_side: int
    latent_side: int
    patch_values: int
    latent_values: int

    @classmethod
    def of(cls, config: BagelConfig, bos: int, eos: int, start: int, end: int) -> Format:
        vision = config.vision
        sizes = (vision.side, config.latent_side, vision.patch_values, config.latent_values)
        return cls(bos, eos, start, end, *sizes)
