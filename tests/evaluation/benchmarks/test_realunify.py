"""RealUnify by hand: judged drawings, and choices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.realunify import BENCHMARK, read_letter, read_yes_no
from tests.evaluation.benchmarks.making import picture, put

UEG = [
    {"task_type": task, "prompt": "Draw it.",
     "question_list": [{"question": "Is it red?", "answer": "yes"}, {"question": "Two?", "answer": "no"}]}
    for task in ("world_knowledge", "world_knowledge", "code_to_image", "code_to_image")
]  # fmt: skip
GEU = [
    {"task_type": task, "evaluation_prompt": f"Which, {n}? A. one B. two", "answer": "B", "image": f"{n}.jpg"}
    for n, task in enumerate(("mental_tracking", "mental_tracking", "attentional_focusing"))
]  # fmt: skip


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """All drawings but the last."""
    for number in range(3):
        put(tmp_path / "drawn" / f"{number}.png", picture(number))
    return tmp_path / "drawn"


def test_a_drawing_counts_only_if_every_answer_is_right(tmp_path: Path, drawn: Path) -> None:
    data = put(tmp_path / "UEG_direct.json", json.dumps(UEG))
    asked = BENCHMARK.questions(data, drawn)
    assert [each.id for each in asked] == ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]
    assert asked[2].parts[0] == drawn / "1.png" and "Is it red?" in str(asked[2].parts[1])
    answers = {"0/0": "Yes.", "0/1": "no", "1/0": "yes", "1/1": "yes", "2/0": "hm"}
    found = BENCHMARK.score(data, drawn, answers)
    assert found.overall == {"accuracy": 25}  # the first alone
    assert found.groups == {"world_knowledge": 50, "code_to_image": 0}
    assert found.counted == {"questions": 4, "missing": 1, "unreadable": 1, "not drawn": 1}
    with pytest.raises(BenchmarkError, match="asks a judge about drawings: .*--drawn"):
        BENCHMARK.questions(data, None)


def test_a_choice_is_right_by_its_letter(tmp_path: Path) -> None:
    data = put(tmp_path / "GEU_direct.json", json.dumps(GEU))
    with pytest.raises(BenchmarkError, match=r"row 1: .*0.jpg is not there"):
        BENCHMARK.questions(data, None)
    for number in range(3):
        put(tmp_path / f"{number}.jpg", picture(number))
    asked = BENCHMARK.questions(data, None)
    assert asked[1].parts == (tmp_path / "1.jpg", "Which, 1? A. one B. two")
    assert asked[1].max_tokens == 1024
    found = BENCHMARK.score(data, None, {"0": "Answer: B", "1": "A, or B", "2": "none"})
    assert found.groups == {"mental_tracking": 50, "attentional_focusing": 0}
    assert found.overall["accuracy"] == pytest.approx(100 / 3)
    assert found.counted == {"questions": 3, "missing": 0, "unreadable": 1, "not drawn": 0}


def test_a_picture_that_the_model_edited_is_shown_in_its_place(tmp_path: Path, drawn: Path) -> None:
    data = put(tmp_path / "GEU_step.json", json.dumps(GEU))
    assert [each.parts[0] for each in BENCHMARK.questions(data, drawn)] == [
        drawn / f"{number}.png" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("said", "letter"),
    [("The best answer is C.", "C"), ("Best answer: D", "D"), ("Answer: (B)", "B"), ("Answer is A", "A"),
     ("Best option: C", "C"), ("b", ""), ("", "")],
)  # fmt: skip
def test_a_letter_is_the_first_that_is_no_part_of_a_phrase(said: str, letter: str) -> None:
    assert read_letter(said) == letter


@given(st.text())
def test_any_text_is_read(said: str) -> None:
    assert read_letter(said) in ("A", "B", "C", "D", "")
    assert read_yes_no(said) in ("yes", "no", "")
    assert read_yes_no(said + "YES") == "yes" and read_yes_no("no" + said) in ("yes", "no")


def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, drawn: Path) -> None:
    for row, rule in (
        ({**GEU[0], "answer": "E"}, "row 1: answer is 'E'"),
        ({**UEG[0], "question_list": []}, "question_list is \\[\\]: it must be a list of objects"),
        ({**UEG[0], "question_list": ["?"]}, "question_list 1: it is '\\?'"),
        ({**UEG[0], "question_list": [{"question": "?", "answer": "so"}]}, "answer is 'so'"),
        ({"answer": "A"}, "evaluation_prompt is missing"),
    ):
        data = put(tmp_path / "bad.json", json.dumps([row]))
        with pytest.raises(BenchmarkError, match=rule):
            BENCHMARK.score(data, drawn, {})
    with pytest.raises(BenchmarkError, match="is not JSON"):
        BENCHMARK.score(put(tmp_path / "bad.json", "{"), drawn, {})
    with pytest.raises(BenchmarkError, match="it must be a list of objects"):
        BENCHMARK.score(put(tmp_path / "bad.json", "{}"), drawn, {})
