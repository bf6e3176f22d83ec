"""MathVista by hand: what stands alone, what a language model takes, and how it is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.mathvista import BENCHMARK, edit_distance, normalised, quick_value
from tests.evaluation.benchmarks.making import picture, put

CHOICES = ["3/11", "8/11", "6/11"]


def row(pid: str, kind: str, answer: str, source: str, skills: list[str]) -> dict[str, Any]:
    choice = kind == "multi_choice"
    data = {"split": "testmini", "language": "english", "source": source, "category": "general-vqa",
            "task": "figure question answering", "context": "chart", "grade": "college",
            "skills": skills}  # fmt: skip
    return {"pid": pid, "question": f"Question {pid}?", "image": f"images/{pid}.jpg", "answer": answer,
            "choices": CHOICES if choice else None, "unit": None, "precision": 1.0 if kind == "float" else None,
            "question_type": "multi_choice" if choice else "free_form",
            "answer_type": "text" if choice else kind, "metadata": data}  # fmt: skip


ROWS = [
    row("1", "integer", "14", "SciBench", ["arithmetic reasoning"]),
    row("2", "float", "1.2", "SciBench", ["arithmetic reasoning", "geometry reasoning"]),
    row("3", "multi_choice", "8/11", "AI2D", ["geometry reasoning"]),
    row("4", "list", "[2007, 2008]", "AI2D", ["statistical reasoning"]),
]
QUERIES = {each["pid"]: f"Hint: a value.\nQuestion: {each['question']}" for each in ROWS}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The repository's folder."""
    put(tmp_path / "testmini.json", json.dumps({each["pid"]: each for each in ROWS}))
    put(tmp_path / "query.json", json.dumps(QUERIES))
    for number, each in enumerate(ROWS):
        put(tmp_path / each["image"], picture(number))
    return tmp_path


def hub(folder: Path) -> Path:
    rows = [{**each, "query": QUERIES[each["pid"]],
             "decoded_image": {"bytes": picture(int(each["pid"])), "path": None}} for each in ROWS]  # fmt: skip
    file = folder / "data" / "testmini-00000-of-00001-abc.parquet"
    file.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return folder


def test_a_question_is_its_picture_and_its_query_in_both_layouts(
    data: Path, tmp_path: Path
) -> None:
    asked = BENCHMARK.questions(data, None)
    assert [each.parts for each in asked] == [
        (data / f"images/{pid}.jpg", query) for pid, query in QUERIES.items()
    ]
    assert {each.max_tokens for each in asked} == {4096}
    same = BENCHMARK.questions(hub(tmp_path / "hub"), None)
    assert [each.parts[1] for each in same] == list(QUERIES.values())
    assert same[0].parts[0] == picture(1)


def test_what_stands_alone_is_not_asked_about(data: Path) -> None:
    answers = {"1": "14", "2": "1.24", "3": "8/11", "4": 'The answer is "[2007, 2008]".'}
    assert BENCHMARK.doubts(data, answers) == []
    found = BENCHMARK.score(data, None, answers)
    assert found.overall == {"accuracy": 100}
    assert BENCHMARK.score(hub(data / "hub"), None, answers) == found


def test_the_score_is_that_of_hand(data: Path) -> None:
    answers = {"1": "There are 14 of them.", "2": "About 1.24 m", "3": "It is (B)."}
    doubts = BENCHMARK.doubts(data, answers)
    assert [each.id for each in doubts] == ["1/value", "2/value", "3/value"]
    assert QUERIES["2"] in str(doubts[1].parts[0]) and "About 1.24 m" in str(doubts[1].parts[0])
    # 14.0 is 14; 1.24 is 1.2 with a decimal; (B) is the second choice; 4 is missing.
    replies = {"1/value": "14.0", "2/value": " 1.24 ", "3/value": "(B)"}
    found = BENCHMARK.score(data, None, {**answers, **replies})
    assert found.overall == {"accuracy": 75}
    assert found.counted == {"questions": 4, "missing": 1, "unreadable": 0}
    assert found.groups["source/AI2D"] == 50 and found.groups["source/SciBench"] == 100
    assert found.groups["skills/geometry reasoning"] == 100
    assert found.groups["answer_type/list"] == 0 == found.groups["skills/statistical reasoning"]
    assert found.groups["question_type/free_form"] == pytest.approx(200 / 3)
    # No value, a wrong one, and for the choice the nearest: "8/1" is one letter from 8/11.
    replies = {"1/value": "", "2/value": "two", "3/value": "8/1"}
    found = BENCHMARK.score(data, None, {**answers, **replies, "4": ""})
    assert found.overall == {"accuracy": 25}
    assert found.counted == {"questions": 4, "missing": 0, "unreadable": 3}


def test_words_without_a_language_model_are_refused(data: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"1 answers are in words, .*--server and --model"):
        BENCHMARK.score(data, None, {"1": "fourteen", "2": "1.2"})


@pytest.mark.parametrize(
    ("said", "kind", "value"),
    [("12", "integer", "12"), (" 12 ", "integer", "12"), ("12.0", "integer", None), ("1e1", "float", "10.0"),
     ("3/11", "multi_choice", "3/11"), ("A", "multi_choice", None), ("", "integer", ""),
     ('So: The answer is "7".', "integer", "7"), ("[1, 2]", "list", None)],
)  # fmt: skip
def test_the_quick_rules(said: str, kind: str, value: str | None) -> None:
    assert quick_value(said, kind, CHOICES) == value


@pytest.mark.parametrize(
    ("value", "kind", "precision", "form"),
    [("3.9", "integer", None, "3"), ("1.25", "float", 1.0, "1.2"), ("x", "float", 2.0, None),
     ("inf", "integer", None, None), ("C", "multi_choice", None, "6/11"), ("(a)", "multi_choice", None, "3/11"),
     ("D", "multi_choice", None, "3/11"), ("[1]", "list", None, "[1]")],
)  # fmt: skip
def test_a_value_gets_the_form_of_the_right_one(
    value: str, kind: str, precision: float | None, form: str | None
) -> None:
    assert normalised(value, kind, CHOICES, precision) == form


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_the_edit_distance_is_a_distance(one: str, other: str, third: str) -> None:
    there = edit_distance(one, other)
    assert there == edit_distance(other, one) and (there == 0) == (one == other)
    assert abs(len(one) - len(other)) <= there <= max(len(one), len(other))
    assert there <= edit_distance(one, third) + edit_distance(third, other)
    assert edit_distance(one, one + other) == len(other)


@given(st.text())
def test_any_value_has_the_form_or_none(value: str) -> None:
    assert normalised(value, "multi_choice", CHOICES, None) in CHOICES
    whole = normalised(value, "integer", (), None)
    assert whole is None or int(whole) is not None


def test_a_row_that_cannot_be_used_is_named(data: Path) -> None:
    (data / "images/2.jpg").unlink()
    with pytest.raises(BenchmarkError, match=r"testmini.json, 2: .*images/2.jpg is not there"):
        BENCHMARK.questions(data, None)
    for field, value, rule in (
        ("choices", ["one"], "choices is .*: it must have two or more"),
        ("metadata", None, "metadata is missing"),
        ("answer", 3, "answer is 3: it must be a text"),
    ):
        put(data / "testmini.json", json.dumps({"3": {**ROWS[2], field: value}}))
        with pytest.raises(BenchmarkError, match=f"testmini.json, 3: {rule}"):
            BENCHMARK.score(data, None, {})
    put(data / "testmini.json", json.dumps({"2": {**ROWS[1], "precision": None}}))
    with pytest.raises(BenchmarkError, match="precision is None: it must be"):
        BENCHMARK.score(data, None, {})
    (data / "testmini.json").unlink()
    with pytest.raises(BenchmarkError, match="has neither testmini-"):
        BENCHMARK.score(data, None, {})
