"""Measuring drives real pools; the replicas here draw and read by rule instead of by a model."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from actors.pool.pool import Pool
from evaluation.kept import MeasureError, read_all
from evaluation.measure import measure
from evaluation.metrics import read_metrics
from policies.config import changed
from policies.seeds import derive
from tests.evaluation.rules import EVALUATION, SUITE, Rules, Settings, pools


@pytest.fixture(scope="module")
def measured(ray_cluster, tmp_path_factory) -> tuple[Settings, dict[int, dict[str, float]], int]:
    """Versions 0, 1 and 0 again; and how many tasks the first two took."""
    settings = Settings("run", str(tmp_path_factory.mktemp("runs")))
    values, done = asyncio.run(_measure(settings, (0, 1, 0)))
    return settings, values, done


async def _measure(
    settings: Settings, versions: tuple[int, ...]
) -> tuple[dict[int, dict[str, float]], int]:
    found = {}
    async with pools(settings) as both:
        for version in versions:
            values = await measure(version, settings, SUITE, *both)
            assert found.setdefault(version, values) == values
        return found, sum(pool.stats().done for pool in both)


def test_right_drawings_score_higher_than_wrong_ones(measured):
    _, values, _ = measured
    assert values[0]["drawing/all_right"] < 20 < 90 < values[1]["drawing/all_right"]
    assert values[0]["drawing/soft"] < values[1]["drawing/soft"]
    assert values[1]["drawing/score"] > 9


def test_understanding_is_of_scenes_and_unicycle_of_own_drawings(measured):
    _, values, _ = measured
    assert values[1]["understanding/questions"] == pytest.approx(100)
    assert values[1]["understanding/captions"] > 80
    assert values[1]["understanding/blind"] < 60
    assert 0 <= values[1]["unicycle/hard"] <= values[1]["unicycle/soft"] < 50


def test_the_judge_is_compared_with_the_base_and_with_unicycle(measured):
    settings, values, _ = measured
    kept = read_all(Path(settings.folder) / settings.name)
    both = list(zip(kept[0]["judged"], kept[1]["judged"], strict=True))
    assert both[0] == (None, None) and len(both) == EVALUATION.scenes
    assert values[1]["judge/drift"] == sum(b - a for a, b in both[1:]) / (len(both) - 1) > 0
    assert "judge/drift" not in values[0]


def test_every_category_has_its_score(measured):
    _, values, _ = measured
    own = [name for name in values[1] if name.startswith("drawing/all_right/")]
    assert len(own) == 10


def test_a_measured_version_is_read_back(measured):
    settings, values, done = measured
    drawn, seen, fixed = 3, 1, 1
    assert done == 2 * (3 * drawn + 3 * seen + fixed)
    folder = Path(settings.folder) / settings.name
    assert {v: each["values"] for v, each in read_all(folder).items()} == values
    assert [row["version"] for row in read_metrics(folder)] == [0, 1]


def test_samples_are_paired_and_say_how_to_draw_them_again(measured):
    settings, _, _ = measured
    kept = read_all(Path(settings.folder) / settings.name)
    base, last = kept[0]["samples"], kept[1]["samples"]
    assert [s["index"] for s in base] == list(range(20))
    assert [(s["prompt"], s["seed"]) for s in base] == [(s["prompt"], s["seed"]) for s in last]
    assert base[13]["seed"] == derive(5, 0, "evaluator", 1, 3)
    assert all(s["picture"].startswith("data:image/png;base64,") for s in base)
    assert len(kept[0]["outcomes"]["drawing/soft"]) == 25


def test_other_settings_are_refused(measured):
    settings, _, _ = measured
    other = replace(settings, evaluation=changed(EVALUATION, prompts=24))
    with pytest.raises(
        MeasureError, match=r"version-00000\.json was measured with evaluation.prompts 25"
    ):
        asyncio.run(measure(0, other, SUITE, *_no_pools(settings)))


def test_a_damaged_measurement_is_named(ray_cluster, tmp_path):
    settings = Settings("run", str(tmp_path))
    file = tmp_path / "run" / "evaluation" / "version-00000.json"
    file.parent.mkdir(parents=True)
    for content in ('{"version": 0', json.dumps({"version": 0})):
        file.write_text(content)
        with pytest.raises(
            MeasureError, match=r"version-00000\.json is not a measurement .*delete"
        ):
            asyncio.run(measure(0, settings, SUITE, *_no_pools(settings)))


def _no_pools(settings: Settings) -> list[Pool]:
    return [Pool(name, Rules.remote, 0, {}, settings.actors) for name in ("solver", "judge")]
