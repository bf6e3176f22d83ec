"""Counts right answers, over all questions and by groups.

Invariant: every question is in each mean with a 0 or a 1, and what was not answered or could not be read
is counted beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MISSING, UNREADABLE = "missing", "unreadable"


@dataclass
class Marks:
    """`right` and `asked` are counts by group."""

    asked: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(
        default_factory=lambda: Counter({"questions": 0, MISSING: 0, UNREADABLE: 0})
    )

    def add(self, right: bool, groups: Iterable[str]) -> None:
        self.counted["questions"] += 1
        for group in groups:
            self.asked[group] += 1
            self.right[group] += right

    def percent(self, group: str) -> float:
        return percent(self.right[group], self.asked[group])

    def groups(self) -> Mapping[str, float]:
        """In percent, in the order of their names."""
        return {group: self.percent(group) for group in sorted(self.asked)}


def percent(right: float, asked: int) -> float:
    return 100 * right / asked if asked else 0.0
