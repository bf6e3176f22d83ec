"""Which versions are measured at their best setting, and which draw in several tries."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.config import EvaluationConfig
from trainer import measuring
from trainer.config import RunConfig


@pytest.mark.parametrize(
    ("every", "best"), [(0, [0, 7]), (1, list(range(8))), (3, [0, 3, 6, 7]), (9, [0, 7])]
)
def test_every_nth_version_and_both_ends_are_measured_at_their_best(
    monkeypatch: pytest.MonkeyPatch, every: int, best: list[int]
) -> None:
    done: dict[str, list[int]] = {name: [] for name in ("", "_best", "_passes", "_twins")}
    for name, versions in done.items():

        async def note(version: int, *_: Any, seen: list[int] = versions) -> dict[str, float]:
            seen.append(version)
            return {}

        monkeypatch.setattr(measuring, f"measure{name}", note)
    config = RunConfig(rounds=7, evaluation=EvaluationConfig(best_every=every))
    run: Any = SimpleNamespace(config=config, rounds=range(1, 8), suite=0, solvers=0, judges=0)
    for version in range(8):
        asyncio.run(measuring.scores(run, version))
    assert done == {"": list(range(8)), "_twins": list(range(8)), "_best": best, "_passes": [0, 7]}
