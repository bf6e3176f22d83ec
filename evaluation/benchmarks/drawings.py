"""What the benchmarks of drawing share: a judge is asked about each picture, and its replies are marked.

Invariant: nothing is asked before every picture was read. An item without a mark is counted by its
cause (no drawing, no answer, an answer that cannot be read), and a score by the official rule, which
leaves such items out, stands beside one that counts each of them 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from evaluation.benchmarks.benchmark import BenchmarkError, Question, Scores
from policies.errors import describe
from policies.pictures import read

UNANSWERED = "unanswered as 0"
"""Beside a score's name: items without a drawing, an answer or a mark count 0."""


class Item(Protocol):
    """What is asked about one picture."""

    @property
    def id(self) -> str: ...


AnItem = TypeVar("AnItem", bound=Item)
Mark = TypeVar("Mark")


class Place(NamedTuple):
    """Where the picture of the item `id` is, but for its suffix."""

    id: str
    folder: Path
    stem: str


class DrawingBenchmark(ABC, Generic[AnItem, Mark]):
    answered_by: Literal["model", "judge"] = "judge"
    name: str
    layout: str
    """Of a folder of drawings, for messages."""
    suffixes: tuple[str, ...]

    @abstractmethod
    def items(self, data: Path) -> Sequence[AnItem]:
        """All of them, in order. Raises BenchmarkError."""

    @abstractmethod
    def places(self, drawn: Path, items: Sequence[AnItem]) -> Iterable[Place]:
        """Raises BenchmarkError where the folder cannot be understood."""

    @abstractmethod
    def ask(self, item: AnItem, picture: Path) -> Question: ...

    @abstractmethod
    def mark(self, item: AnItem, reply: str) -> Mark | None:
        """Returns what a reply comes to by the official rule; None where that cannot read it."""

    @abstractmethod
    def scores(
        self, items: Sequence[AnItem], marks: Mapping[str, Mark | None], counted: Mapping[str, int]
    ) -> Scores:
        """`marks` are of the items that were answered."""

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        """Raises BenchmarkError, PictureError."""
        items = self.items(data)
        if drawn is None:
            raise BenchmarkError(
                f"{self.name} asks about drawings: name their folder, laid out as {self.layout}"
            )
        found = self._pictures(drawn, items)
        for picture in found.values():
            read(picture)
        return [self.ask(each, found[each.id]) for each in items if each.id in found]

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        return ()

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        """Without `drawn` an item that has no answer counts as "no_answer", whether it was drawn or not."""
        items = self.items(data)
        if unknown := sorted(set(answers) - {each.id for each in items}):
            raise BenchmarkError(
                f"{data} has no question {describe(unknown[0])}, which is answered: score the answers "
                f"with the files of {self.name} that were asked"
            )
        shown = None if drawn is None else set(self._pictures(drawn, items))
        marks: dict[str, Mark | None] = {}
        counted = dict.fromkeys(("scored", "unparsable", "no_answer", "no_drawing"), 0)
        for each in items:
            if each.id in answers:
                found = marks[each.id] = self.mark(each, answers[each.id])
                counted["unparsable" if found is None else "scored"] += 1
            else:
                there = shown is None or each.id in shown
                counted["no_answer" if there else "no_drawing"] += 1
        return self.scores(items, marks, counted)

    def _pictures(self, drawn: Path, items: Sequence[AnItem]) -> dict[str, Path]:
        """By the items' ids, in their order."""
        listed: dict[Path, dict[str, Path]] = {}
        found = {}
        for place in self.places(drawn, items):
            if place.folder not in listed:
                listed[place.folder] = _listed(place.folder, self.suffixes)
            if picture := listed[place.folder].get(place.stem):
                found[place.id] = picture
        if not found:
            raise BenchmarkError(
                f"{drawn} has no picture of {self.name}: lay the drawings out as {self.layout}"
            )
        return found


def _listed(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The pictures of a folder by their stems; none where there is no folder."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix.lower() in suffixes:
            if file.stem in found:
                raise BenchmarkError(
                    f"{folder} has {found[file.stem].name} and {file.name}: delete one of them"
                )
            found[file.stem] = file
    return found
