"""The best setting is chosen on prompts that do not measure, and measured on those that do."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from actors.config import SolverConfig
from evaluation.best_setting import KIND, measure_best
from evaluation.config import EvaluationConfig
from evaluation.kept import read_all
from evaluation.metrics import read_metrics
from evaluation.selection import best, inference_settings, selection_prompts
from policies.config import changed
from policies.errors import ConfigError
from policies.interface import PictureSampling
from policies.tiny.world.language import parse
from tests.evaluation.rules import EVALUATION, SUITE, Settings, pools


@pytest.fixture(scope="module")
def measured(ray_cluster, tmp_path_factory) -> tuple[Settings, dict[int, dict[str, float]]]:
    settings = Settings("run", str(tmp_path_factory.mktemp("runs")))
    return settings, asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> dict[int, dict[str, float]]:
    """Versions 0 and 1, and again, which must draw nothing."""
    async with pools(settings) as both:
        found = {v: await measure_best(v, settings, SUITE, *both) for v in (0, 1)}
        done = both[0].stats().done
        for version, values in found.items():
            assert await measure_best(version, settings, SUITE, *both) == values
        assert both[0].stats().done == done == 2 * (5 * 2 + 3)
    return found


@pytest.mark.slow
def test_each_version_is_measured_at_the_first_of_its_best_settings(measured):
    _, values = measured
    assert values[0]["best/temperature"] == 0.5 and values[1]["best/temperature"] == 1.0
    assert values[0]["best/all_right"] == values[1]["best/all_right"] > 90
    assert {"best/soft", "best/unicycle_hard", "best/unicycle_soft"} < set(values[0])


@pytest.mark.slow
def test_what_was_tried_and_chosen_is_kept(measured):
    settings, values = measured
    folder = Path(settings.folder) / settings.name
    found = read_all(folder, KIND)
    assert [each["temperature"] for each in found[0]["tried"]] == list(EVALUATION.temperatures)
    assert [each["right"] > 10 for each in found[0]["tried"]] == [False, False, True, True, False]
    assert found[0]["best"] == found[0]["tried"][2] and found[0]["prompts"] == 12
    assert len(found[0]["outcomes"]["drawing/all_right"]) == EVALUATION.prompts
    assert found[0]["samples"][0]["seed"] == found[1]["samples"][0]["seed"]
    rows = [row for row in read_metrics(folder) if row["kind"] == KIND]
    assert [(row["version"], row["best/all_right"]) for row in rows] == [
        (version, own["best/all_right"]) for version, own in values.items()
    ]


def test_no_selection_prompt_is_measured_and_categories_are_even() -> None:
    config = EvaluationConfig(prompts=500, selection_prompts=80)
    measured = dict(SUITE.prompts(config.prompts, config.seed))
    chosen = selection_prompts(SUITE, config)
    assert len(set(chosen)) == 80 and not set(chosen) & set(measured)
    assert all(SUITE.held_out(text) for text in chosen)
    # Of two categories the world has no other held-out prompts than those that are measured.
    assert sorted(Counter(parse(text).category for text in chosen).values()) == [10] * 8
    assert chosen == selection_prompts(SUITE, config)


def test_of_equal_settings_the_first_is_best() -> None:
    assert best([3, 5, 5]) == 1
    own = EvaluationConfig(temperatures=(1.0, 0.0), guidances=(1.0, 3.0))
    assert inference_settings(Settings("run", "runs", evaluation=own)) == [
        PictureSampling(1.0, 1.0), PictureSampling(0.0, 1.0), PictureSampling(1.0, 3.0), PictureSampling(0.0, 3.0)
    ]  # fmt: skip


def test_a_flows_steps_are_tried_with_every_guidance() -> None:
    own = EvaluationConfig(temperatures=(1.0,), guidances=(1.0, 3.0), steps=(8, 20))
    tried = inference_settings(Settings("run", "runs", evaluation=own))
    assert [(how.steps, how.guidance) for how in tried] == [(8, 1), (8, 3), (20, 1), (20, 3)]


def test_without_guidances_the_fixed_one_is_taken() -> None:
    own = EvaluationConfig(temperatures=(0.5,))
    settings = Settings("run", "runs", solver=SolverConfig(guidance=(2.0, 4.0)), evaluation=own)
    assert inference_settings(settings) == [PictureSampling(0.5, 3.0)]


def test_without_selection_prompts_nothing_is_chosen(tmp_path: Path) -> None:
    settings = Settings("run", str(tmp_path), evaluation=changed(EVALUATION, selection_prompts=0))
    assert asyncio.run(measure_best(0, settings, SUITE, None, None)) == {}  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperatures", ()), ("temperatures", (1.0, 1e-9)), ("guidances", (-1.0,)),
     ("selection_prompts", -1)],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"evaluation\.{field}"):
        EvaluationConfig(**{field: value})
