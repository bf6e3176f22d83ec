"""Who does not look is never right about a scene and its twin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evaluation.kept import read_all
from evaluation.metrics import read_metrics
from evaluation.suites import Twins, load_suite
from evaluation.twins import KIND, asked_of, found_in, measure_twins
from policies.config import changed
from tests.evaluation.rules import EVALUATION, SUITE, Settings, pools

PAIRS = SUITE.twins(20, 3)
RIGHT = [question.answer for pair in PAIRS for question in pair.questions]


def values(answers: list[str]) -> dict[str, float]:
    found: dict[str, float] = found_in(PAIRS, answers)["values"]
    return found


def test_pairs_are_the_same_for_every_version_and_of_the_measured_scenes() -> None:
    def told(pairs: list[Twins]) -> list[tuple[bytes, str]]:
        return [(picture.pixels.tobytes(), question) for picture, question in asked_of(pairs)]

    assert told(PAIRS) == told(SUITE.twins(20, 3))
    scenes = {picture.pixels.tobytes() for picture, _ in SUITE.scenes(20, 3)}
    assert all(pair.pictures[0].pixels.tobytes() in scenes for pair in PAIRS)
    assert not any(pair.pictures[1].pixels.tobytes() in scenes for pair in PAIRS)
    assert not any(a.pixels.tobytes() == b.pixels.tobytes() for a, b in (p.pictures for p in PAIRS))


def test_a_pair_counts_only_if_both_answers_are_right() -> None:
    whole = {"understanding/twins": 100, "understanding/twins_yes_no": 100}
    assert values(RIGHT) == {**whole, "understanding/twins_yes": 50}
    blind = [answer for pair in PAIRS for answer in 2 * [pair.questions[0].answer]]
    nothing = {"understanding/twins": 0, "understanding/twins_yes_no": 0}
    assert values(blind) == {**nothing, "understanding/twins_yes": 100}


def test_who_always_says_no_is_seen() -> None:
    never = ["no" if pair.questions[0].kind == "yes_no" else question.answer
             for pair in PAIRS for question in pair.questions]  # fmt: skip
    assert values(never) == {
        "understanding/twins": 100, "understanding/twins_yes_no": 0, "understanding/twins_yes": 0
    }  # fmt: skip


@pytest.mark.parametrize(("suite", "count"), [("none", 5), ("tiny_world", 0)])
def test_where_none_are_asked_for_nothing_is_measured(
    tmp_path: Path, suite: str, count: int
) -> None:
    settings = Settings("run", str(tmp_path), evaluation=changed(EVALUATION, twins=count))
    nobody: object = None
    measured = measure_twins(0, settings, load_suite(suite), nobody, nobody)  # type: ignore[arg-type]
    assert asyncio.run(measured) == {} and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_versions_are_told_apart_by_real_pools(ray_cluster, tmp_path: Path) -> None:
    settings = Settings("run", str(tmp_path), evaluation=changed(EVALUATION, twins=20))

    async def both() -> dict[int, dict[str, float]]:
        async with pools(settings) as (solvers, judges):
            found = {
                version: await measure_twins(version, settings, SUITE, solvers, judges)
                for version in (0, 1, 0)
            }
            pairs = len(SUITE.twins(20, EVALUATION.seed))
            assert judges.stats().done == 2 * -(-pairs // EVALUATION.prompts_per_task)
            return found

    found = asyncio.run(both())
    assert found[0]["understanding/twins"] == 0 and found[0]["understanding/twins_yes"] == 100
    assert found[1]["understanding/twins"] == 100 and found[1]["understanding/twins_yes"] == 50
    kept = read_all(tmp_path / "run", KIND)
    assert {v: each["values"] for v, each in kept.items()} == found
    assert [row["version"] for row in read_metrics(tmp_path / "run")] == [0, 1]
