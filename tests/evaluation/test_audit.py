"""The audit compares what the Judge said with what the oracle sees, over the replay log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from actors.config import ActorsConfig, JudgeConfig
from actors.hygiene.config import HygieneConfig
from actors.replay.records import JudgedGroup, Judgement, Rollout, Unfit, reason_kind
from actors.replay.segments import write_segment
from evaluation.audit import audit, audit_groups
from evaluation.metrics import read_metrics
from evaluation.suites import load_suite
from policies.interface import Picture, PictureSampling, learned
from policies.seeds import generator
from policies.tiny.world.language import parse
from policies.tiny.world.render import render, sample_scene

SUITE = load_suite("tiny_world")
PROMPT = "three red circles"
RIGHT = render(sample_scene(parse(PROMPT), generator("audit")))
WRONG = np.full_like(RIGHT, 255)


@dataclass(frozen=True)
class Settings:
    name: str
    folder: str
    seed: int = 0
    actors: ActorsConfig = field(default_factory=ActorsConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)


def group(index: int, *rollouts: tuple[np.ndarray, float | None], reason: str = "",
          prompt: str = PROMPT) -> JudgedGroup:  # fmt: skip
    made = tuple(Rollout(k, PictureSampling(), learned(Picture(pixels)), Judgement("", score, 1))
                 for k, (pixels, score) in enumerate(rollouts))  # fmt: skip
    return JudgedGroup(1, index, "counting", "one kind", prompt, 0, 0, 0, made, reason)


GROUPS = [
    group(0, (RIGHT, 10.0), (WRONG, 2.0)),
    group(1, (WRONG, 9.0), (RIGHT, 8.0), (WRONG, None)),
    group(2, (WRONG, 4.0), reason="best score 4 is under 7"),
    group(3, (RIGHT, 3.0), reason="best score 3 is under 7"),
    group(4, (RIGHT, 10.0), prompt="three red circle"),
]


def test_every_number_of_the_audit():
    values = audit_groups(GROUPS, SUITE, JudgeConfig(), 0).values()
    assert values["audit/agreement"] == pytest.approx(100 * 4 / 7)
    assert values["audit/precision"] == pytest.approx(100 / 3)
    assert values["audit/precision/counting"] == pytest.approx(100 / 3)
    assert values["audit/accepted"] == pytest.approx(60)
    assert values["audit/unparsable"] == pytest.approx(100 / 8)
    assert values["audit/grammatical"] == pytest.approx(80)
    assert values["audit/rejected/best score is under 7"] == pytest.approx(40)
    assert -1 <= values["audit/correlation"] <= 1


def test_what_filters_left_out_is_counted_by_filter_and_is_not_unparsable():
    judge = JudgeConfig(hygiene=HygieneConfig(unsafe_from=0.5, clip="clip", clip_from=0.2))
    made = group(0, (RIGHT, None), (RIGHT, 9.0), (WRONG, None), (WRONG, None))
    left_out = replace(made.rollouts[0], unfit=Unfit("unsafe", 0.9))
    made = replace(made, rollouts=(left_out, *made.rollouts[1:]))
    values = audit_groups([made], SUITE, judge, 0).values()
    assert values["hygiene/unsafe"] == 25 and values["hygiene/clip"] == 0
    assert values["audit/unparsable"] == 50
    plain = audit_groups(GROUPS, SUITE, JudgeConfig(), 0)
    assert not any(name.startswith("hygiene/") for name in plain.values() | plain.repeated(None))


def test_winners_that_repeat_an_earlier_one_are_counted_in_the_order_of_the_log():
    look = ["00" * 14, "ff" * 14, "03" + "00" * 13, "07" + "ff" * 13]
    made = [group(i, (RIGHT, 9.0), (WRONG, 2.0)) for i in range(4)]
    made = [replace(g, rollouts=tuple(replace(r, looks=seen) for r in g.rollouts))
            for g, seen in zip(made, look, strict=True)]  # fmt: skip
    made.append(replace(made[0], index=4, reason="best score 3 is under 7"))
    whole = audit_groups(made[2:], SUITE, JudgeConfig(), 0)
    whole.merge(audit_groups(made[:2], SUITE, JudgeConfig(), 0))
    assert [whole.repeated(bits)["hygiene/repeated"] for bits in (0, 2, 5)] == [0, 25, 50]


def test_a_drawing_that_the_oracle_cannot_read_counts_as_wrong():
    large = np.full((96, 96, 3), 255, np.uint8)
    values = audit_groups([group(0, (large, 9.0), (RIGHT, 8.0))], SUITE, JudgeConfig(), 0).values()
    assert values["audit/right"] == pytest.approx(50)
    assert values["audit/precision"] == 0


def test_the_winner_is_the_one_that_is_learned_from():
    tied = [group(0, (WRONG, 9.0), (RIGHT, 9.0))]
    won = {s: audit_groups(tied, SUITE, JudgeConfig(ties="random"), s).values()["audit/precision"]
           for s in range(20)}  # fmt: skip
    assert won == {s: 100.0 * tied[0].winner(s, "random") for s in range(20)}
    assert set(won.values()) == {0.0, 100.0}
    assert audit_groups(tied, SUITE, JudgeConfig(), 3).values()["audit/precision"] == 0


def test_what_has_no_case_is_left_out():
    assert audit_groups([], SUITE, JudgeConfig(), 0).values() == {}
    alike = audit_groups([group(0, (RIGHT, 9.0), (RIGHT, 9.0))], SUITE, JudgeConfig(), 0).values()
    assert "audit/correlation" not in alike


def test_tallies_add_up_in_any_order():
    whole = audit_groups(GROUPS, SUITE, JudgeConfig(), 0).values()
    parts = [audit_groups([each], SUITE, JudgeConfig(), 0) for each in reversed(GROUPS)]
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].values() == pytest.approx(whole)


def test_a_reason_is_counted_without_its_own_number():
    assert reason_kind("best score 4.5 is under 7") == "best score is under 7"
    assert reason_kind("no judgement could be parsed") == "no judgement could be parsed"


def test_without_an_oracle_the_judges_counts_and_the_variety_are_kept(ray_cluster, tmp_path: Path):
    for index, each in enumerate(GROUPS):
        write_segment(tmp_path / "run" / "replay", 1, index, [each])
    values = asyncio.run(audit(1, Settings("run", str(tmp_path)), load_suite("none")))
    with_oracle = audit_groups(GROUPS, SUITE, JudgeConfig(), 0).values()
    for name in ("accepted", "unparsable", "rejected/best score is under 7"):
        assert values.pop(f"audit/{name}") == pytest.approx(with_oracle[f"audit/{name}"])
    assert values.pop("audit/winners") == 3
    assert {name.split("/")[0] for name in values} == {"diversity"}
    assert values["diversity/unique"] == pytest.approx(2 / 5)
    assert "diversity/held_out" not in values
    assert read_metrics(tmp_path / "run")[0]["audit/accepted"] == pytest.approx(60)


def test_a_round_is_audited_once_and_kept(ray_cluster, tmp_path: Path):
    for index, each in enumerate(GROUPS):
        write_segment(tmp_path / "run" / "replay", 1, index, [each])
    settings = Settings("run", str(tmp_path))
    values = asyncio.run(audit(1, settings, SUITE))
    assert values["audit/accepted"] == pytest.approx(60)
    assert values["diversity/unique"] == pytest.approx(2 / 5)
    assert read_metrics(tmp_path / "run") == [{"kind": "round", "round": 1, **values}]
    for file in (tmp_path / "run" / "replay").rglob("*.parquet"):
        file.unlink()
    assert asyncio.run(audit(1, settings, SUITE)) == values
