"""The file of answers: what a kill leaves of it, what is refused, and anybody's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks import mme as module
from evaluation.benchmarks.answers import AnswerFolder, answered_by, digest, read_answers
from evaluation.benchmarks.benchmark import BenchmarkError, Question
from evaluation.benchmarks.registry import NAMES, listed, load
from evaluation.benchmarks.scoring import score, table
from evaluation.tasks.folder import EvaluationError
from tests.evaluation.benchmarks.making import mme, picture, put

FACTS = {"benchmark": "mme", "data": "0123", "model": "small"}


@pytest.mark.parametrize("torn", ["", '{"id": "3", "ans', '{"id": "3", "answer": "x"}'])
def test_what_a_kill_left_of_a_line_is_asked_again(tmp_path: Path, torn: str) -> None:
    folder = AnswerFolder(tmp_path)
    assert folder.begin(FACTS) == {}
    folder.keep("1", "yes", "small")
    folder.keep("2", "é\n", "small")
    with folder.file.open("a") as file:
        file.write(torn)
    again = AnswerFolder(tmp_path)
    assert again.begin(FACTS) == {"1": "yes", "2": "é\n"}
    again.keep("3", "no", "small")
    assert read_answers(again.file) == {"1": "yes", "2": "é\n", "3": "no"}
    assert answered_by(again.file) == ["small"]
    assert [json.loads(line)["id"] for line in again.file.read_text().splitlines()] == [
        "1",
        "2",
        "3",
    ]


@pytest.mark.parametrize("field", FACTS)
def test_a_folder_of_something_else_is_refused_by_the_field(tmp_path: Path, field: str) -> None:
    AnswerFolder(tmp_path).begin(FACTS)
    with pytest.raises(
        EvaluationError, match=f"{field} is {FACTS[field]!r} there and 'other' here"
    ):
        AnswerFolder(tmp_path).begin({**FACTS, field: "other"})


@given(st.dictionaries(st.text(), st.text()))
def test_any_answers_come_back(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, str]
) -> None:
    folder = AnswerFolder(tmp_path_factory.mktemp("answers"))
    folder.begin(FACTS)
    for id_, answer in given.items():
        folder.keep(id_, answer, "small")
    assert AnswerFolder(folder.path).begin(FACTS) == given


def test_anybodys_file_is_read_whole_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "theirs.jsonl"
    put(file, '{"id": "1", "answer": "yes"}\n\n{"id": "2", "answer": ""}')
    assert read_answers(file) == {"1": "yes", "2": ""} and answered_by(file) == []
    put(file, '{"id": "1", "answer": "yes"}\n{"id": "2", "an')
    assert read_answers(file) == {"1": "yes"} and answered_by(file) == []
    for text, rule in (
        ('{"id": "1"}\n', "line 1: answer is missing"),
        ('{"id": 1, "answer": "a"}\n', "line 1: id is 1: it must be a text"),
        ('{"id": "1", "answer": 1}\n', "line 1: answer is 1: it must be a text"),
        ('["1", "a"]\n', "line 1: it is .*: it must be a JSON object"),
        ('{"id": "1", "answer": "a"}\n' * 2, "line 2: id is '1', as in .*, line 1"),
        ("id,answer\n{}\n", "line 1: it is not JSON"),
        ("", "has no answer"),
    ):
        with pytest.raises(BenchmarkError, match=rule):
            read_answers(put(file, text))
    with pytest.raises(BenchmarkError, match="cannot be read"):
        read_answers(tmp_path / "none")


def test_the_digest_is_of_all_that_is_asked_and_shown(tmp_path: Path) -> None:
    file = put(tmp_path / "one.png", picture(1))
    asked = [Question("1", (file, "What?"), 20), Question("2", (picture(2), "Who?"), 20)]
    first = digest(asked)
    assert digest(asked) == first
    moved = put(tmp_path / "elsewhere" / "two.png", picture(1))
    assert digest([Question("1", (moved, "What?"), 20), asked[1]]) == first
    others = (Question("1", (file, "Which?"), 20), Question("1", (file, "What?"), 21),
              Question("one", (file, "What?"), 20), Question("1", ("What?", file), 20),
              Question("1", (file, "What?"), 20, enlarged=2))  # fmt: skip
    found = {digest([other, asked[1]]) for other in others}
    put(file, picture(3))
    assert len({first, digest(asked), *found}) == 2 + len(others)


def test_scores_say_who_answered_and_what_was_counted(tmp_path: Path) -> None:
    data = mme(tmp_path / "mme")
    rows = [{"id": "OCR/0/0", "answer": "Yes", "model": "small"}, {"id": "nothing", "answer": "?"}]
    file = put(tmp_path / "answers.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = score(module.BENCHMARK, data, None, file, None)
    assert found["models"] == ["small"] and found["overall"]["total"] == 50
    assert found["counted"] == {
        "questions": 28, "missing": 27, "unreadable": 0, "answers to no question": 1,
    }  # fmt: skip
    lines = table(found)
    assert lines[0].split() == ["perception", "50.00"] and lines[-1].startswith(
        "counted: questions 28"
    )
    other = put(tmp_path / "other.jsonl", json.dumps(rows[1]) + "\n")
    with pytest.raises(
        BenchmarkError, match="answers no question of mme: its first id is 'nothing'"
    ):
        score(module.BENCHMARK, data, None, other, None)


def test_benchmarks_are_listed_with_who_answers_them() -> None:
    lines = [line.split(maxsplit=2) for line in listed().splitlines()]
    assert [name for name, *_ in lines] == list(NAMES)
    assert ["mme", "model"] in [line[:2] for line in lines]
    assert {len(line) for line in lines} == {3}
    assert [load(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(BenchmarkError, match="no benchmark is called 'mmme'"):
        load("mmme")
