"""The Judge is measured on pairs that are right and wrong by construction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.config import JudgeConfig
from evaluation.planted import pairs, told
from tests.trainer.small import group

JUDGE = JudgeConfig()


def named(index: int, prompt: str, accepted: bool = True):
    scores = (2.0, 9.0, 5.0) if accepted else (2.0, 3.0, 5.0)
    reason = "" if accepted else "best score 5 is under 7"
    return replace(group(index, scores, reason=reason), prompt=prompt)


GROUPS = [
    named(0, "two red circles"),
    named(1, "three blue squares", accepted=False),
    named(2, "nothing to edit"),
    named(3, "three red squares"),
]


def test_winners_are_shown_with_their_prompt_and_with_an_edited_one() -> None:
    made = pairs(GROUPS, 10, JUDGE, 0)
    assert [prompt for _, prompt, _ in made[::2]] == ["two red circles", "three red squares"]
    for (_, right, picture), (_, wrong, same), judged in zip(
        made[::2], made[1::2], (GROUPS[0], GROUPS[3]), strict=True
    ):
        assert picture is same is judged.rollouts[1].picture
        changed = [a for a, b in zip(right.split(), wrong.split(), strict=True) if a != b]
        assert len(changed) == 1
    assert made == pairs(GROUPS, 10, JUDGE, 0) and len(pairs(GROUPS, 1, JUDGE, 0)) == 2


def test_j_is_what_the_judge_accepts_of_right_ones_less_what_of_wrong_ones() -> None:
    scores = [9.0, 2.0, 8.0, 7.0, 6.0, 1.0, 7.0, 6.9]
    assert told(scores, 7.0) == pytest.approx({"judge/tpr": 75, "judge/fpr": 25, "judge/j": 50})
    assert told([9.0, None, None, 1.0], 7.0) == {} and told([], 7.0) == {}
    assert told([None, 1.0, 9.0, 0.0], 7.0)["judge/j"] == 100
