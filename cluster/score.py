"""Scores a file of answers by a benchmark's rules, whoever gave them.

Invariant: what was found stands beside the answers, with what was counted and who was asked.
"""

from __future__ import annotations

import json
from pathlib import Path

from actors.storage import storage
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.scoring import score, table
from evaluation.judges.server import ChatServer

SCORES = "scores.json"


def scored(
    benchmark: Benchmark, data: Path, drawn: Path | None, answers: Path, server: ChatServer | None
) -> list[str]:
    """Lines that say it. Raises UserError."""
    found = score(benchmark, data, drawn, answers, server)
    file = answers.parent / SCORES
    storage.write(file, (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode())
    return [*table(found), f"scores: {file}"]
