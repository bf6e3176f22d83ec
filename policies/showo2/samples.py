"""What a sample is: words and pictures in turn, before they are put into a batch.

Invariant: a picture takes a place for its time and one for each token; the marks around it are words.
All of a sample stands in one row of positions, one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from policies.flowing.samples import Grid


@dataclass(frozen=True)
class Words:
    """Ids, of which every one is scored if they are learned: by the state of the word before it."""

    ids: Sequence[int]
    learned: bool = False

    @property
    def places(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture at a time of the flow (0: clean), float [tokens, latent values]; `drawn`: its velocity
    is wanted."""

    tokens: Tensor
    grid: Grid
    time: float = 0.0
    drawn: bool = False

    @property
    def places(self) -> int:
        return 1 + self.grid[0] * self.grid[1]


Split = Words | Shown
Sample = Sequence[Split]


@dataclass(frozen=True)
class Form:
    """Ids of the public conversation: `start`, `eos`, `boi` and `eoi` are marks, `before` stands before a
    question, from `start` on, and `after` after it, up to where the answer follows its last word `begin`."""

    start: int
    eos: int
    boi: int
    eoi: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    begin: int
    latent_values: int

    @property
    def bos(self) -> int:
        """The word that `policies.flowing.writing` reads last, before it writes."""
        return self.begin
