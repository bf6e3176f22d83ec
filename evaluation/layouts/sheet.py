"""What a benchmark wants drawn: prompts, how many pictures of each, and into which files.

Invariant: of one layout all sheets have as many pictures and the same grid, and no two share a file. A
sheet's place among them, from which the seeds of its pictures follow, is that of its prompt in the
benchmark's own files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Sheet:
    """A prompt, and the files of its pictures: relative to the folder that the scorer is given, with
    slashes. Each file has one picture, or as many as `grid` (columns, rows), row by row. `record` is a
    file beside them, and this sheet's line of it."""

    prompt: str
    files: tuple[str, ...]
    grid: tuple[int, int] = (1, 1)
    record: tuple[str, str] | None = None

    @property
    def tiles(self) -> int:
        """Pictures of a file."""
        columns, rows = self.grid
        return columns * rows

    @property
    def count(self) -> int:
        """Pictures of the prompt."""
        return len(self.files) * self.tiles


@dataclass(frozen=True)
class Drawn:
    """What a scorer's command names: the folder of the pictures, whose they are, their width in pixels (of
    one tile where a file has several), and the prompts' files."""

    images: Path
    model: str
    side: int
    prompts: tuple[Path, ...]


class Layout(Protocol):
    """A benchmark's prompts and folders, as its official scorer has them."""

    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        """The files of prompts: those at `prompts`, or that ship. Raises BenchmarkError where they are not
        there."""

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        """`model` is the name of a folder where the scorer wants one. Raises BenchmarkError."""

    def scorer(self, drawn: Drawn) -> list[str]:
        """The lines of a shell, in a checkout of the benchmark, that score what was drawn."""
