"""What samples of every such family have in common: splits, each of which takes so many places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

Grid = tuple[int, int]
"""Rows and columns of a picture's tokens."""


class Placed(Protocol):
    @property
    def places(self) -> int: ...


def length(sample: Iterable[Placed]) -> int:
    """How many places a sample takes."""
    return sum(split.places for split in sample)
