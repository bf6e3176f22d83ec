"""A measurement that cannot be done is given up, and the run goes on."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace
from typing import Any

import pytest

from actors.pool.faults import Poisoned
from cluster.watch.progress import Progress
from trainer import measuring, selfplay
from trainer.config import RunConfig

ROUNDS = 3


def poison(version: int) -> ExceptionGroup[Exception]:
    """As `measure` raises it from its flows."""
    inner = ExceptionGroup("reading", [Poisoned(f"evaluator task 0 of v{version}", "it fails")])
    return ExceptionGroup("measuring", [inner])


def evaluated(
    monkeypatch: pytest.MonkeyPatch, fails: dict[int, Exception], limit: int = 9
) -> tuple[list[str], str]:
    """Who was given up, and what a person read, of a run where measurements of versions, and those of
    the planted pairs of a round (-1 is round 1), fail."""
    given_up: list[str] = []

    async def measure(version: int, *others: Any) -> dict[str, float]:
        if version in fails:
            raise fails[version]
        return {"drawing/soft": 50.0 + version}

    async def measure_best(version: int, *others: Any) -> dict[str, float]:
        return {"best/soft": 60.0 + version}

    async def audit(round_: int, *others: Any) -> dict[str, float]:
        return {"audit/right": 40.0 + round_}

    async def planted(round_: int, judge_version: int, *others: Any) -> dict[str, float]:
        assert judge_version == round_ - 1
        if -round_ in fails:
            raise fails[-round_]
        return {"judge/j": 90.0 + round_}

    async def there(number: int) -> None:
        pass

    def poisoned(error: Poisoned) -> None:
        given_up.append(str(error))
        if len(given_up) > limit:
            raise error

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(measuring, "measure_best", measure_best)
    monkeypatch.setattr(selfplay, "audit", audit)
    monkeypatch.setattr(measuring, "planted", planted)
    out = io.StringIO()
    progress = Progress(out, lambda: 0.0)
    progress.started(RunConfig(rounds=ROUNDS))
    run: Any = SimpleNamespace(
        rounds=range(1, ROUNDS + 1), config=RunConfig(rounds=ROUNDS), suite=None, tasks=(), solvers=None,
        judges=None, judge_version=lambda version: version, note_learning=there,
        stores=SimpleNamespace(version_ready=there, round_closed=there), poisoned=poisoned,
        report=SimpleNamespace(progress=progress),
    )  # fmt: skip
    asyncio.run(selfplay.evaluate(run))
    return given_up, out.getvalue()


@pytest.mark.parametrize("version", range(ROUNDS + 1))
def test_a_run_goes_on_without_the_scores_of_a_version(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    given_up, said = evaluated(monkeypatch, {version: poison(version)})
    assert given_up == [f"evaluator task 0 of v{version}"]
    assert f"round {ROUNDS}/{ROUNDS} done" in said
    for other in set(range(ROUNDS + 1)) - {version}:
        assert f"{50 + other}.00" in said
    assert ("scores of weights v0" in said) == (version != 0)
    told = [f"{60 + end}.00" for end in (0, ROUNDS) if end != version]
    assert [each for each in ("60.00", "61.00", "62.00", "63.00") if each in said] == told


def test_a_run_goes_on_without_the_planted_pairs_of_a_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_up, said = evaluated(monkeypatch, {-2: Poisoned("evaluator task 0", "it fails")})
    assert given_up == ["evaluator task 0"] and f"round {ROUNDS}/{ROUNDS} done" in said


def test_too_many_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Poisoned, match="v1"):
        evaluated(monkeypatch, {0: poison(0), 1: poison(1)}, limit=1)


def test_a_defect_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        evaluated(monkeypatch, {1: ExceptionGroup("", [poison(1), KeyError("a defect")])})
    assert caught.group_contains(KeyError)
