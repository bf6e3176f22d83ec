"""Whether a model says yes too often is counted from the answers that it gave anyway."""

from __future__ import annotations

import pytest

from evaluation import grading
from evaluation.paired import gain
from evaluation.suites import load_suite
from evaluation.unicycle.rules import says_yes
from policies.tiny.world.questions import Question

SUITE = load_suite("tiny_world")
SCENES = SUITE.scenes(60, 7)
PROMPTS = [prompt for _, prompt in SCENES]
QUESTIONS = [question for prompt in PROMPTS for question in SUITE.questions(prompt)]


def scored(answers: list[str]) -> dict[str, float]:
    seen = grading.grade_scenes(SUITE, SCENES, PROMPTS, answers)
    found = grading.outcomes([], seen)
    return {name: 100 * sum(own) / len(own) for name, own in found.items() if own}


def test_yes_is_counted_among_questions_for_yes_or_no_alone() -> None:
    truth = [question.answer for question in QUESTIONS if question.kind == "yes_no"]
    share = 100 * truth.count("yes") / len(truth)
    assert 0 < share < 100
    right = scored([question.answer for question in QUESTIONS])
    assert right["understanding/yes_rate"] == right["understanding/yes_true"] == share
    assert right["understanding/questions"] == pytest.approx(100)
    always = scored(["yes"] * len(QUESTIONS))
    assert (always["understanding/yes_rate"], always["understanding/yes_true"]) == (100, share)
    never = scored(["blue"] * len(QUESTIONS))
    assert (never["understanding/yes_rate"], never["understanding/yes_true"]) == (0, share)


def test_an_interval_over_questions_is_one_over_scenes() -> None:
    def shares(*marks: tuple[float, ...]) -> list[float]:
        return grading.outcomes([], [grading.Seen(True, own) for own in marks])[
            "understanding/questions"
        ]

    found = shares((1.0, 0.0, 1.0), (), (1.0,), (0.0, 0.0))
    assert len(found) == 4 and sum(found) / 4 == 3 / 6
    assert shares((), ()) == []
    # Twice as many questions that are all right or wrong together are no more certain.
    before, after = [(0.0,)] * 30 + [(1.0,)] * 30, [(0.0,)] * 20 + [(1.0,)] * 40
    twice = [[own * 2 for own in side] for side in (before, after)]
    assert gain(shares(*before), shares(*after)) == gain(*(shares(*side) for side in twice))


@pytest.mark.parametrize(
    ("answer", "yes"),
    [("Yes.", True), ("a", True), ("no", False), ("b", False), ("", False), (None, False),
     ("yes no", False)],
)  # fmt: skip
def test_yes_may_be_said_by_its_letter(answer: str | None, yes: bool) -> None:
    asked = Question("yes_no", "is there a circle ?", ("yes", "no"), "no")
    assert says_yes(asked, answer) == yes
