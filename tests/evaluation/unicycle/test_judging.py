"""Verdicts by a judge and by rules: hand-computed on every kind of question, and Figure 10's cases."""

from __future__ import annotations

import json

import pytest

from evaluation.unicycle.asking import asked, reference, understood
from evaluation.unicycle.instances import Instance, Question
from evaluation.unicycle.judging import (
    NO_ANSWER,
    NO_DRAWING,
    UNPARSABLE,
    Verdict,
    by_rules,
    instruction,
    read_reply,
)
from evaluation.unicycle.summary import Scored, summary

SIDES = ("to the left", "directly above", "to the right", "None of above")
PLATE = Instance("a", "2d_spatial_relation", "A plate to the right of a sheep.", (
    Question("choice", "Where is the plate, seen from the sheep?", "to the right", SIDES),
))  # fmt: skip
TABLE = Instance(
    "b", "shape+texture", "A metallic table held a pentagonal badge and a circular pizza.", (
        Question("open", "What shape is the badge?", "pentagonal"),
        Question("open", "What shape is the pizza?", "circular"),
        Question("choice", "What is the table made of?", "Metal", ("Wood", "Plastic", "Metal", "Glass")),
    ),
)  # fmt: skip
BULB = Instance("c", "text", 'A bulb with the text on it: "Bright", "ideas", "light", "the", "way".', (
    Question("text", "What text is written?", "Bright ideas light the way",
             keywords=("Bright", "ideas", "light", "the", "way")),
))  # fmt: skip
ABSENT = Instance("d", "negation", "a photo of a cake, and no zebra", (
    Question("yes_no", "Is there a cake in the picture?", "yes"),
    Question("yes_no", "Is there a zebra in the picture?", "no"),
))  # fmt: skip


def reply(question, evaluation, /, **other):
    fields = {"question": question.text, "answer": "...", "evaluation": evaluation} | other
    return json.dumps(fields)


def judged(instance, evaluations):
    pairs = zip(instance.questions, evaluations, strict=True)
    return Scored(instance, tuple(read_reply(q, reply(q, said)) for q, said in pairs))


def ruled(instance, answers):
    pairs = zip(instance.questions, answers, strict=True)
    return Scored(instance, tuple(by_rules(q, said) for q, said in pairs))


FIGURE_10 = [
    (PLATE, ["A"], ["no"], 0, 0),
    (TABLE, ["pentagonal", "square", "C"], ["yes", "no", "yes"], 200 / 3, 0),
    (BULB, ["BRIGHT ideas, light the way!"], [5], 100, 100),
]


@pytest.mark.parametrize(("instance", "answers", "evaluations", "soft", "hard"), FIGURE_10)
def test_figure_10_comes_out_as_printed_by_rules_and_by_a_judge(
    instance, answers, evaluations, soft, hard
):
    for scored in (ruled(instance, answers), judged(instance, evaluations)):
        found = summary([scored])
        assert found["soft"]["score"] == pytest.approx(soft)
        assert found["hard"]["score"] == hard


def test_soft_and_hard_over_every_kind_of_question_are_the_hand_computed_ones():
    # Soft: 0, 2/3, 3/5, 1/2. Hard: none of them.
    scored = [
        judged(PLATE, ["no"]),
        judged(TABLE, ["yes", "no", "Yes."]),
        judged(BULB, [3]),
        judged(ABSENT, ["yes", "no"]),
    ]
    found = summary(scored)
    assert found["soft"]["score"] == pytest.approx(100 * (2 / 3 + 3 / 5 + 1 / 2) / 4)
    assert found["hard"]["score"] == 0
    assert found["question_kinds"] == {
        "choice": {"questions": 2, "score": 50},
        "yes_no": {"questions": 2, "score": 50},
        "open": {"questions": 2, "score": 50},
        "text": {"questions": 1, "score": pytest.approx(60)},
    }
    assert summary([*scored, judged(ABSENT, ["yes", "yes"])])["hard"]["score"] == 20


def test_a_negation_is_answered_with_no():
    assert ruled(ABSENT, ["Yes.", "no"]).marks() == [1, 1]
    assert ruled(ABSENT, ["yes", "yes"]).marks() == [1, 0]


def test_a_judge_that_counts_more_words_than_there_are_is_clamped_and_counted():
    found = summary([judged(BULB, [7])])
    assert found["soft"]["score"] == 100
    assert found["counted"]["clamped"] == 1


WORD = BULB.questions[0]
CHOICE = PLATE.questions[0]


@pytest.mark.parametrize(
    "said",
    [
        "", "yes", "I think so.", "{}", "[]", "null", '{"evaluation": "yes"}',
        reply(CHOICE, "maybe"), reply(CHOICE, True), reply(CHOICE, None), reply(CHOICE, 1),
        reply(CHOICE, "yes", question="Where is the cat?"), reply(CHOICE, "yes", score=1),
        reply(CHOICE, "yes") + reply(CHOICE, "no"), reply(CHOICE, "yes", question=3),
    ],
)  # fmt: skip
def test_a_reply_that_says_no_verdict_is_unparsable(said):
    assert read_reply(CHOICE, said) is UNPARSABLE


@pytest.mark.parametrize("count", [-1, 2.5, "three", None, True, "yes", 10**6])
def test_a_count_that_is_none_is_unparsable(count):
    assert read_reply(WORD, reply(WORD, count)) is UNPARSABLE


def test_a_number_that_would_fill_the_memory_is_unparsable():
    assert read_reply(WORD, reply(WORD, 0).replace(": 0}", ": 1e999999}")) is UNPARSABLE


@pytest.mark.parametrize(("count", "mark"), [(0, 0), (4, 0.8), ("4", 0.8), (5.0, 1)])
def test_a_count_is_divided_by_the_keywords(count, mark):
    assert read_reply(WORD, reply(WORD, count)) == Verdict(mark, "judged")


def test_a_reply_may_stand_in_a_code_fence_and_repeat_the_question_in_its_own_way():
    said = reply(CHOICE, "yes", question="where is the PLATE seen from the sheep")
    assert read_reply(CHOICE, f"```json\n{said}\n```").mark == 1


def test_what_is_missing_counts_nothing_and_is_counted():
    scored = [
        Scored(PLATE, (NO_DRAWING,)),
        Scored(ABSENT, (NO_ANSWER, UNPARSABLE)),
        judged(BULB, [5]),
    ]
    found = summary(scored)
    assert found["counted"] == {"no_drawing": 1, "no_answer": 1, "unparsable": 1, "clamped": 0}
    assert found["soft"]["score"] == pytest.approx(100 / 3)
    assert found["soft"]["at_most"] == pytest.approx(50)


def test_rules_take_an_empty_answer_for_none():
    assert by_rules(WORD, "  ") is NO_ANSWER


def test_the_interval_holds_the_score_and_grows_narrower_with_more_instances():
    few = summary([judged(PLATE, [said]) for said in ["yes", "no"] * 5])["hard"]
    many = summary([judged(PLATE, [said]) for said in ["yes", "no"] * 200])["hard"]
    assert few["low"] < 50 < few["high"]
    # Half the width of a share's interval is about 1.96 * 50 / sqrt(n).
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * 50 / 20, rel=0.15)
    assert few["high"] - few["low"] > 3 * (many["high"] - many["low"])


def test_a_choice_is_asked_with_letters_and_judged_with_texts():
    assert asked(CHOICE).splitlines()[1:5] == [
        "A. to the left", "B. directly above", "C. to the right", "D. None of above",
    ]  # fmt: skip
    assert reference(CHOICE) == "C. to the right"
    assert understood(CHOICE, "(a)") == "A. to the left"
    assert understood(CHOICE, "it is to the right") == "it is to the right"
    assert understood(CHOICE, "e") == "e"


@pytest.mark.parametrize("instance", [PLATE, TABLE, BULB, ABSENT])
def test_a_question_tells_nothing_of_the_prompt_and_a_judge_is_told_all(instance):
    for question in instance.questions:
        assert instance.prompt not in asked(question)
        told = instruction(instance, question, "{answer} with $signs")
        assert instance.prompt in told and "{answer} with $signs" in told
        assert question.answer in told and question.text in told
