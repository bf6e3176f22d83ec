"""The exact rules and the formulas (paper, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.unicycle import rules, scoring


@dataclass(frozen=True)
class Asked:
    kind: str
    text: str
    answer: str
    options: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()


SIDES = ("to the left", "directly above", "to the right", "None of above")
PLATE = Asked("choice", "Where is the plate, seen from the sheep?", "C", SIDES)
MATERIALS = ("Wood", "Plastic", "Metal", "Glass")
TABLE = (
    Asked("open", "What shape is the badge?", "pentagonal"),
    Asked("open", "What shape is the pizza?", "circular"),
    Asked("choice", "What is the table made of?", "Metal", MATERIALS),
)
SIGN = Asked("text", "What text is written?", "Bright ideas light the way",
             keywords=("Bright", "ideas", "light", "the", "way"))  # fmt: skip


def marks(questions, answers):
    return [rules.mark(q, a) for q, a in zip(questions, answers, strict=True)]


def test_figure_10a_a_wrong_choice_scores_nothing():
    found = marks([PLATE], ["A"])
    assert (scoring.soft(found), scoring.hard(found)) == (0.0, 0.0)


def test_figure_10b_two_of_three_are_soft_two_thirds_and_hard_nothing():
    found = marks(TABLE, ["Pentagonal.", "square", "metal"])
    assert scoring.soft(found) == pytest.approx(2 / 3)
    assert scoring.hard(found) == 0.0


def test_figure_10c_five_of_five_words_are_all_right():
    found = marks([SIGN], ["BRIGHT ideas, light the way!"])
    assert (scoring.soft(found), scoring.hard(found)) == (1.0, 1.0)


def test_final_scores_are_means_over_prompts_times_100():
    prompts = [[0.0], [1.0, 0.0, 1.0], [1.0]]
    assert scoring.final([scoring.soft(p) for p in prompts]) == pytest.approx(100 * (5 / 3) / 3)
    assert scoring.final([scoring.hard(p) for p in prompts]) == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    "answer", ["C", "c.", "to the right", "C to the right", "(c) To the Right"]
)
def test_a_choice_may_be_answered_by_letter_or_text(answer):
    assert rules.mark(PLATE, answer) == 1.0


def test_letters_name_no_option_where_letters_are_options():
    question = Asked("choice", "Which letter?", "b", ("a", "b", "c"))
    assert [rules.mark(question, letter) for letter in "abc"] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("answer", ["3", "three", "B", "b. 3", "B three", "03"])
def test_a_choice_among_numbers_may_be_answered_by_letter_digits_or_word(answer):
    question = Asked("choice", "How many?", "3", ("2", "3", "4"))
    assert rules.mark(question, answer) == 1.0
    assert rules.mark(replace(question, answer="2"), answer) == 0.0


@pytest.mark.parametrize("answer", ["10", "ten", "A", "A. 10"])
def test_a_choice_among_larger_numbers_likewise(answer):
    question = Asked("choice", "How many?", "10", ("10", "11", "12"))
    assert rules.mark(question, answer) == 1.0


@pytest.mark.parametrize(
    "answer", ["00000000013", "0.0000000000001234", "0" * 10 + "1" * 5000, "13"]
)
def test_a_number_of_any_length_is_an_answer(answer):
    assert rules.mark(Asked("open", "How many?", "3"), answer) == 0.0


@pytest.mark.parametrize("answer", [None, "", "  ", "?!"])
def test_an_unanswered_question_counts_nothing(answer):
    assert marks([*TABLE, SIGN], [answer] * 4) == [0.0] * 4


def test_a_partly_read_sign_gives_its_share():
    assert rules.mark(SIGN, "bright ideas the") == pytest.approx(3 / 5)


def test_a_word_asked_for_twice_must_be_read_twice_and_the_share_is_at_most_1():
    question = Asked("text", "?", "very very good", keywords=("very", "very", "good"))
    assert rules.mark(question, "very good") == pytest.approx(2 / 3)
    assert rules.mark(question, "very very very good good") == 1.0


@pytest.mark.parametrize(
    ("read", "share"),
    [("c a t", 1), ("cat", 1), ("t a c", 1 / 3), ("c a", 2 / 3), ("c a a t", 1 / 3), ("", 0)],
)
def test_spelling_is_counted_by_place(read, share):
    question = Asked("text", "what word is written ?", "c a t", keywords=("c", "a", "t"))
    assert rules.mark(question, read) == pytest.approx(share)


def test_two_things_named_in_one_answer_may_come_in_any_order():
    question = Asked("open", "?", "red and blue", keywords=("red", "blue"))
    assert rules.mark(question, "blue and red") == 1.0
    assert rules.mark(question, "blue and green") == 0.0


def test_a_prompt_without_questions_is_refused():
    for formula in (scoring.soft, scoring.hard, scoring.final, scoring.interval):
        with pytest.raises(ValueError, match="nothing to average"):
            formula([])


@given(st.lists(st.text()), st.text(), st.sampled_from(["open", "text", "choice", "yes_no"]))
def test_every_mark_is_from_0_to_1(keywords, answer, kind):
    if kind == "text" and not any(map(rules.words, keywords)):
        keywords = ["red"]
    question = Asked(kind, "?", "yes", ("yes", "no"), tuple(keywords))
    assert 0.0 <= rules.mark(question, answer) <= 1.0


@given(st.lists(st.floats(0, 1), min_size=1))
def test_hard_is_never_above_soft(found):
    assert scoring.hard(found) <= scoring.soft(found) + 1e-9
