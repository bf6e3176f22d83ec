"""What earlier rounds came to decides what is asked next, where a recipe says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from actors.category_shares import CategoryShares
from actors.replay.records import JudgedGroup
from actors.replay.segments import write_segment
from actors.roles.prompt_library import PromptLibrary
from actors.roles.requests import Propose
from actors.roles.templates import load_templates
from tests.trainer.small import group
from tests.trainer.test_proposals import asked, round_of
from trainer.experience import Experience, experience


def drawn(
    round_: int, index: int, prompt: str, *scores: float | None, category: str = "counting"
) -> JudgedGroup:
    best = max((score or 0.0) for score in scores)
    reason = "" if best >= 7 else f"best score {best:g} is under 7"
    made = group(index, scores, round_, reason)
    kind = "face" if category == "portrait" else "one kind"
    return replace(made, prompt=prompt, category=category, subcategory=kind)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two slices of round 1 and one of round 2."""
    write_segment(
        tmp_path / "replay",
        1,
        0,
        [drawn(1, 0, "two cats", 9.0, 2.0), drawn(1, 1, "two dogs", 3.0, None)],
    )
    write_segment(
        tmp_path / "replay",
        1,
        1,
        [drawn(1, 2, "six cows", 1.0, 2.0), drawn(1, 3, "six pigs", 6.0, 5.0)],
    )
    write_segment(tmp_path / "replay", 2, 0, [
        drawn(2, 0, "six cows", 8.0, 9.0, 1.0, 2.0), drawn(2, 1, "ten hens", 2.0, 1.0, 3.0, None),
        drawn(2, 2, "a sad man", 9.0, 9.0, category="portrait"),
    ])  # fmt: skip
    return tmp_path


def test_what_failed_when_it_was_drawn_last_is_remembered(log: Path) -> None:
    before = experience(log / "replay", 3, 1, 7.0)
    assert [p.prompt for p in before.failed] == ["two dogs", "six pigs", "ten hens"]
    assert before.said == ("six cows", "ten hens", "a sad man")
    assert before.accepted == {("counting", "one kind"): 2 / 7, ("portrait", "face"): 1.0}
    assert experience(log / "replay", 2, 5, 7.0).said == (
        "two cats", "two dogs", "six cows", "six pigs"
    )  # fmt: skip
    assert experience(log / "replay", 1, 5, 7.0) == Experience()


def test_failed_prompts_come_again_by_key(log: Path) -> None:
    before = experience(log / "replay", 3, 0, 7.0)
    assert before.said == () and before.again(9, 1) == list(before.failed)
    chosen = {tuple(p.prompt for p in before.again(2, key)) for key in range(30)}
    assert len(chosen) == 3 and before.again(2, 5) == before.again(2, 5)


def test_kinds_that_fail_but_can_succeed_get_most() -> None:
    one, two = ("counting", "one kind"), ("counting", "two kinds")
    before = Experience(accepted={one: 1.0, two: 0.25, ("text rendering", "sign"): 0.0})
    weights = before.weights(8)
    assert weights[one] == weights["text rendering", "sign"] == 0.1
    assert weights[two] == pytest.approx(0.75 * (1 - 0.75**8))
    made = load_templates("tiny").topics(60, CategoryShares(counting=9.0), weights)
    kinds = Counter((topic.category, topic.subcategory) for topic in made)
    assert kinds[two] > 6 * kinds[one] > 0
    assert kinds["portrait", "face"] > 0


def test_a_round_begins_with_what_failed_and_never_says_what_was_said(log: Path) -> None:
    kept, pool = round_of(log, 3, prompts=10, again=0.2, memory=1, follow="weakness")
    chosen = [p.prompt for p in kept[:2]]
    assert set(chosen) < {"two dogs", "six pigs", "ten hens"}
    assert [p.index for p in kept] == list(range(len(kept)))
    topics = [topic for part, _ in asked(pool, Propose) for topic in part]
    assert len(topics) == 8 and len(kept) == 10
    # Of 8 topics the other eight categories get one each; these two have been drawn, and follow.
    assert sum(topic.category == "portrait" for topic in topics) == 0


def test_what_was_said_is_not_said_again() -> None:
    library = PromptLibrary(0.9, ["Two cats."])
    cats, dogs = (drawn(1, 0, prompt, 9.0) for prompt in ("two cats", "two dogs"))
    told = [library.add(replace(_proposal(each), index=7)) for each in (cats, dogs, dogs)]
    assert told == [False, True, False] and [p.index for p in library.kept] == [0]


def _proposal(made: JudgedGroup):
    from actors.replay.records import Proposal

    return Proposal(0, made.category, made.subcategory, made.prompt, 0)
