"""pass@k is of tries that differ, at a setting that was chosen on other prompts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evaluation.best_setting import measure_best
from evaluation.config import EvaluationConfig
from evaluation.kept import read_all
from evaluation.metrics import read_metrics
from evaluation.passes import AT_K, AT_ONE, KIND, found_in, measure_passes
from evaluation.selection import best_sampled
from policies.config import changed
from policies.errors import ConfigError
from policies.interface import PictureSampling
from tests.evaluation.rules import EVALUATION, LUCKY, SUITE, Settings, pools


def test_one_of_k_is_enough_for_k_and_a_part_for_one() -> None:
    found = found_in([[True, False, False], [False] * 3, [True] * 3, [False, True, True]])
    assert found["outcomes"] == {AT_ONE: [0.3333, 0.0, 1.0, 0.6667], AT_K: [1.0, 0.0, 1.0, 1.0]}
    assert found["values"] == {AT_ONE: pytest.approx(50.0), AT_K: 75.0}


def test_greedy_is_never_chosen() -> None:
    settings = [PictureSampling(1.0), PictureSampling(0.5), PictureSampling(0.0)]
    assert best_sampled(settings, [3, 4, 9]) == 1 and best_sampled(settings, [4, 4, 9]) == 0


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"temperatures": (0.0,)}, "temperatures"),
        ({"selection_prompts": 0, "temperature": 0.0}, "temperature"),
    ],
)
def test_tries_that_are_alike_are_refused(fields: dict[str, object], name: str) -> None:
    EvaluationConfig(**fields)
    with pytest.raises(ConfigError, match=rf"evaluation\.{name} is .*evaluation\.passes is 4"):
        EvaluationConfig(passes=4, **fields)


@pytest.mark.slow
@pytest.mark.parametrize("selected", [12, 0])
def test_real_pools_draw_every_prompt_in_tries_of_their_own(
    ray_cluster, tmp_path: Path, selected: int
) -> None:
    own = changed(
        EVALUATION, passes=2, selection_prompts=selected, temperatures=(LUCKY, 0.0),
        temperature=LUCKY,
    )  # fmt: skip
    settings = Settings("run", str(tmp_path), evaluation=own)

    async def draw() -> dict[int, dict[str, float]]:
        async with pools(settings) as both:
            for version in (0, 1):
                await measure_best(version, settings, SUITE, *both)
            before = both[0].stats().done
            found = {v: await measure_passes(v, settings, SUITE, *both) for v in (0, 1, 0)}
            assert both[0].stats().done - before == 2 * 2 * 3
            return found

    found = asyncio.run(draw())
    # Every prompt is drawn right by a task of an odd number, and has one of each.
    assert 40 < found[0][AT_ONE] < 60 and found[0][AT_K] > 90 and found[1][AT_ONE] > 90
    assert found[0]["passes/k"] == 2 and found[0]["passes/temperature"] == LUCKY
    assert set(read_all(tmp_path / "run", KIND)) == {0, 1}
    rows = [row for row in read_metrics(tmp_path / "run") if row["kind"] == KIND]
    assert [(row["version"], row[AT_K]) for row in rows] == [(v, found[v][AT_K]) for v in (0, 1)]
