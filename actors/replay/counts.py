"""How much there is in a slice of the replay log, without its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


def margin(scores: Sequence[float | None]) -> float:
    """By how much the best score is above the worst; 0 without a score."""
    known = [score for score in scores if score is not None]
    return max(known, default=0.0) - min(known, default=0.0)


class Counts(NamedTuple):
    """Of a slice how many drawings there are, how many groups were rejected, and of each accepted one by
    how much its best drawing scored above its worst."""

    drawings: int
    rejected: int
    margins: tuple[float, ...]

    @property
    def groups(self) -> int:
        return self.rejected + len(self.margins)


def counted(groups: Iterable[tuple[str, Sequence[float | None]]]) -> Counts:
    """`groups` are reasons and scores."""
    drawings, rejected, margins = 0, 0, []
    for reason, scores in groups:
        drawings += len(scores)
        rejected += bool(reason)
        if not reason:
            margins.append(margin(scores))
    return Counts(drawings, rejected, tuple(margins))
