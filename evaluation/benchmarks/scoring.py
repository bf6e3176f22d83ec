"""Scores answers, whoever gave them, with what a language model says of those that no rule can read.

Invariant: the score follows from the data, the drawings, the answers and the replies alone, and stands with
all that was counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.benchmarks.answers import answered_by, read_answers
from evaluation.benchmarks.asking import ask_doubts
from evaluation.benchmarks.benchmark import Benchmark, BenchmarkError
from evaluation.judges.cache import Cache
from evaluation.judges.server import ChatServer
from policies.errors import describe

CACHE = "judge-cache"
OTHERS = "answers to no question"


class _Used(Mapping[str, str]):
    """Notes which answers are looked up."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers, self.used = answers, set[str]()

    def __getitem__(self, id_: str) -> str:
        found = self._answers[id_]
        self.used.add(id_)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


def score(
    benchmark: Benchmark, data: Path, drawn: Path | None, file: Path, server: ChatServer | None
) -> dict[str, Any]:
    """The scores of the answers in `file`, and who gave them. Without a server nobody is asked, and the
    benchmark decides whether rules alone will do. Raises BenchmarkError, JudgeError."""
    answers = read_answers(file)
    replies, counted = dict[str, str](), dict[str, int]()
    if server is not None and (doubts := benchmark.doubts(data, answers)):
        server.require()
        cache = Cache(file.parent / CACHE)
        replies, counted = asyncio.run(ask_doubts(server, cache, doubts))
    given = _Used({**answers, **replies})
    scores = benchmark.score(data, drawn, given)
    unused = [id_ for id_ in answers if id_ not in given.used]
    if len(unused) == len(answers):
        raise BenchmarkError(
            f"{file} answers no question of {benchmark.name}: its first id is {describe(unused[0])}; "
            "name the answers and the data of one benchmark"
        )
    asked = {"doubts": {"judge": server.identity, **counted}} if server and counted else {}
    return {
        "benchmark": benchmark.name,
        "answers": str(file),
        "models": answered_by(file),
        "overall": dict(scores.overall),
        "groups": dict(scores.groups),
        "counted": {**scores.counted, OTHERS: len(unused)},
        **asked,
    }


def table(found: Mapping[str, Any]) -> list[str]:
    """A line for each score, each group and what was counted."""
    names = [*found["overall"], *(f"  {name}" for name in found["groups"])]
    values = [*found["overall"].values(), *found["groups"].values()]
    width = max(map(len, names), default=0)
    lines = [f"{name:<{width}} {value:8.2f}" for name, value in zip(names, values, strict=True)]
    for kind in ("counted", "doubts"):
        if kind in found:
            said = ", ".join(f"{name} {count}" for name, count in found[kind].items())
            lines.append(f"{kind}: {said}")
    return lines
