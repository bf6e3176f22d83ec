"""Planted pairs of earlier rounds decide how a round is judged, and whoever goes on judges alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from actors.config import JudgeConfig
from actors.pool.faults import Poisoned
from actors.replay.records import UNTRUSTED, JudgedGroup, Judgement, Task
from actors.replay.segments import write_segment
from actors.roles.calibration import TRUSTED, Fit, Trust
from actors.roles.requests import ReadSignals
from actors.roles.signals import Shown
from tests.trainer.small import group
from trainer import trust
from trainer.config import ReconstructionConfig, RunConfig
from trainer.experience import experience
from trainer.patterns import teaches
from trainer.trust import Pair, fit_of, trust_before, youden

JUDGE = JudgeConfig(by="read_back", accept_probability=0.5, least_j=0.6, planted=20)
COLOURS = ("red", "blue", "green", "yellow")
REASON = f"{UNTRUSTED}J of planted pairs is 40 %, under 60 %"


def said(worst: float) -> Judgement:
    """Scores by a read-back, whose mean is half of the worst."""
    return Judgement(
        "", 9.0 if worst > -2 else 1.0, 0, None, (("read_back", worst / 2), ("worst", worst))
    )


def won(round_: int, index: int, category: str, reason: str = "") -> JudgedGroup:
    """Whose prompt says its round and category, so that pairs can be told apart."""
    prompt = f"{COLOURS[index % 4]} {category} {round_} {index}"
    return replace(group(index, (2.0, 9.0), round_, reason), category=category, prompt=prompt)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three rounds with 15 winners in each of two categories, and as many that lost."""
    for round_ in (1, 2, 3):
        for slice_, category in enumerate(("counting", "portrait")):
            first = 100 * slice_
            groups = [won(round_, first + i, category, REASON if i % 2 else "") for i in range(15)]
            groups += [
                won(round_, first + 50 + i, category, "best score 2 is under 7") for i in range(3)
            ]
            write_segment(tmp_path / "replay", round_, slice_, groups)
    return tmp_path


class Judges:
    """Reads what it is asked by rule: in portraits it does not see colours."""

    def __init__(self) -> None:
        self.asked: list[ReadSignals] = []

    async def run(self, request: ReadSignals, shown: Any) -> Any:
        self.asked.append(request)
        return ray.put(request.do(self, 0, await shown).payload)

    def signals(self, task: Task, seed: int, shown: list[Shown]) -> list[Judgement]:
        """What was drawn is red where its index is a multiple of four, and so on."""
        return [
            said(-0.1 - 0.01 * place if category == "portrait" or _right(prompt) else -6.0)
            for place, (category, prompt, _) in enumerate(shown)
        ]


def _right(prompt: str) -> bool:
    colour, _, _, index = prompt.split()
    return COLOURS[int(index) % 4] == colour


def run_of(folder: Path, judges: Any, judge: JudgeConfig = JUDGE) -> tuple[Any, list[Any]]:
    told: list[Any] = []

    async def note(*row: Any) -> None:
        told.append(row)

    report = SimpleNamespace(note=note, on_event=lambda *who, **facts: told.append((*who, facts)))
    run = SimpleNamespace(
        config=RunConfig(judge=judge), folder=folder, judges=judges, report=report,
        judge_version=lambda version: version, poisoned=told.append,
    )  # fmt: skip
    return run, told


def test_a_round_is_judged_by_what_pairs_of_those_before_tell(ray_cluster: str, log: Path) -> None:
    run, told = run_of(log, judges := Judges())
    found = asyncio.run(trust_before(run, 4, 3))
    assert found.fit is not None and found.fit.signals == ("read_back", "worst")
    assert [category for category, _ in found.rejected] == ["portrait"]
    assert found.reason("portrait").startswith(UNTRUSTED) and not found.reason("counting")
    assert [each.task for each in judges.asked] == [
        Task(4, "calibrator", first, 3) for first in (0, 64)
    ]
    (kind, round_, values), (who, what, facts) = told
    assert (kind, round_, values["trust/pairs"], values["trust/untrusted"]) == ("trust", 4, 40, 1)
    assert values["trust/j/counting"] > 80 > 30 > values["trust/j/portrait"]
    assert (who, what, facts["category"]) == ("judge", "teaches nothing", "portrait")
    # Another driver goes on: it asks nobody.
    again, _ = run_of(log, None)
    assert asyncio.run(trust_before(again, 4, 3)) == found
    (log / "trust" / "round-00004.json").unlink()
    anew, _ = run_of(log, Judges())
    assert asyncio.run(trust_before(anew, 4, 3)) == found


def test_a_judge_of_whom_a_task_was_given_up_is_trusted_for_good(
    ray_cluster: str, log: Path
) -> None:
    class Dead:
        async def run(self, request: ReadSignals, shown: Any) -> Any:
            raise Poisoned(request.task, "every replica died of it")

    run, told = run_of(log, Dead())
    assert asyncio.run(trust_before(run, 4, 3)) == TRUSTED and isinstance(told[0], Poisoned)
    assert asyncio.run(trust_before(run_of(log, Judges())[0], 4, 3)) == TRUSTED


def test_pairs_are_of_the_newest_winners_of_three_rounds(log: Path) -> None:
    choose: Callable[..., tuple[list[str], list[Shown]]] = trust._pairs._function  # type: ignore[attr-defined]
    judge = JudgeConfig(planted=20)
    categories, shown = choose(log / "replay", [3, 2, 1], judge, 0)
    assert categories == ["counting"] * 40 + ["portrait"] * 40
    rounds = [prompt.split()[2] for _, prompt, _ in shown[:40:2]]
    assert rounds == ["3"] * 15 + ["2"] * 5
    assert all(
        _right(own) and not _right(wrong)
        for (_, own, _), (_, wrong, _) in zip(shown[::2], shown[1::2])
    )
    few, _ = choose(log / "replay", [1], judge, 0)
    assert few.count("counting") == 30


def test_the_first_round_and_a_recipe_without_the_settings_ask_nobody(tmp_path: Path) -> None:
    for judge, round_ in ((JUDGE, 1), (JudgeConfig(), 5)):
        run, told = run_of(tmp_path, None, judge)
        assert asyncio.run(trust_before(run, round_, round_ - 1)) is TRUSTED
        assert asyncio.run(trust.kept(run, round_)) is TRUSTED and told == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "trust" / "round-00002.json"
    file.parent.mkdir()
    for text in ("{", "{}", json.dumps({"fit": None})):
        file.write_text(text)
        with pytest.raises(trust.TrustDamaged, match=r"round-00002\.json .*delete it"):
            asyncio.run(trust_before(run_of(tmp_path, None)[0], 2, 1))


def pairs(category: str, right: Iterator[float] | list[float], wrong: list[float]) -> list[Pair]:
    return [Pair(category, said(a), said(b)) for a, b in zip(right, wrong, strict=True)]


def test_j_is_told_of_categories_with_pairs_enough() -> None:
    made = pairs("counting", [-1.0] * 8 + [-5.0] * 2, [-1.0] * 3 + [-5.0] * 7)
    made += pairs("portrait", [-1.0] * 9, [-5.0] * 9)
    assert youden(made, None, JUDGE) == {"counting": pytest.approx(0.5)}
    strict = Fit(("worst",), (1.0,), 0.5)
    assert youden(made, strict, JUDGE)["counting"] == 0.0, "of which -1 is not probable enough"


def test_there_is_no_fit_of_few_pairs_and_none_of_what_could_not_be_read() -> None:
    made = pairs("counting", [-1.0] * 30, [-5.0] * 30)
    assert fit_of(made[:29], JUDGE) is None and fit_of(made, JUDGE) is not None
    unread = [each._replace(wrong=Judgement("", None, 3)) for each in made]
    assert (
        fit_of(unread, JUDGE) is None and youden(unread, Fit(("worst",), (1.0,), 0.5), JUDGE) == {}
    )


def test_what_the_judge_is_not_trusted_in_teaches_nothing_and_has_not_failed(log: Path) -> None:
    rejected = won(1, 0, "counting", REASON)
    assert not teaches(rejected, ReconstructionConfig(judged="all"))
    assert teaches(
        won(1, 0, "counting", "best score 2 is under 7"), ReconstructionConfig(judged="all")
    )
    failed = experience(log / "replay", 4, 0, 7.0).failed
    assert len(failed) == 18 and all(each.index % 100 >= 50 for each in failed)


def test_a_trust_says_nothing_of_other_categories() -> None:
    assert Trust(None, (("counting", REASON),)).reason("portrait") == ""
