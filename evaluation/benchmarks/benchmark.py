"""What a benchmark is: questions that somebody answers, and a score that follows from the answers.

Invariant: a score is a function of the benchmark's files and of the answers by their questions' ids, and
of nothing else: who answered, a model of ours or anybody's, leaves no trace in it. An answer that is
missing or cannot be read is counted, and never averaged in silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from policies.errors import UserError

Part = str | Path | bytes
"""A text, a picture's file, or an encoded picture as a table has it."""


class BenchmarkError(UserError):
    """A benchmark's file that cannot be used; the message names the file, the row or field, the value and
    the fix."""


@dataclass(frozen=True)
class Question:
    """One request, of which texts and pictures stand in the order that the model shall see."""

    id: str
    """Unique in its benchmark, and the same in every run."""
    parts: tuple[Part, ...]
    max_tokens: int
    """Of the answer, as the benchmark's own scripts set it."""
    enlarged: int = 1
    """How many times as wide and as high the first picture is shown, as some scripts do."""


@dataclass(frozen=True)
class Scores:
    """`overall` are what a paper's table has, by name; `groups` what they are means of; `counted` is how
    many questions were scored, were missing, could not be read, and so on."""

    overall: Mapping[str, float]
    groups: Mapping[str, float] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)


class Benchmark(Protocol):
    """`data` is what its authors release, by path; `drawn` is a folder of drawings in the layout of its
    official scorer, for benchmarks of drawing."""

    name: str
    answered_by: Literal["model", "judge", "either"]
    """Whether the questions are for the model that is measured, or for a judge of what it drew; either,
    where the data say it."""

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        """Raises BenchmarkError."""

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        """What a language model is asked about the answers that no rule can read, or that the protocol
        leaves to one; texts alone. Empty for most. The replies come to `score` under these ids, beside
        the answers. Raises BenchmarkError."""

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        """Of all questions; `answers` are by id. A doubt without a reply counts as unreadable where the
        protocol has rules alone, and is refused where it has not. Raises BenchmarkError."""
