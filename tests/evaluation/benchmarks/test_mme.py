"""MME by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.mme import BENCHMARK, read_label
from tests.evaluation.benchmarks.making import TASKS, mme, put


def test_a_question_is_a_picture_and_a_text_with_the_form_of_the_answer(tmp_path: Path) -> None:
    asked = BENCHMARK.questions(mme(tmp_path, pictures=2), None)
    assert len(asked) == len({each.id for each in asked}) == 14 * 2 * 2
    assert asked[0].id == "existence/0/0" and asked[0].max_tokens == 20
    picture, text = asked[0].parts
    assert picture == tmp_path / "existence/images/0.jpg"
    assert text == (
        "Is it existence 0? Please answer yes or no. Answer the question using a single word or phrase."
    )
    assert asked[-1].parts[0] == tmp_path / "code_reasoning/1.png"


def test_the_score_is_that_of_hand(tmp_path: Path) -> None:
    data = mme(tmp_path, pictures=2)
    answers = {f"{task}/{n}/{k}": said for task in TASKS for n in (0, 1)
               for k, said in enumerate(("Yes", "no."))}  # fmt: skip
    # existence: 4 of 4 right and both pictures: 200. Of the others one thing is changed each.
    answers["count/0/0"] = "No"  # 3 of 4, one picture of two: 75 + 50
    answers["position/0/0"] = answers["position/1/0"] = "maybe"  # 2 of 4, none: 50 + 0, unreadable
    del answers["code_reasoning/1/1"]  # 75 + 50, missing
    found = BENCHMARK.score(data, None, answers)
    assert found.groups["existence"] == 200
    assert found.groups["count"] == found.groups["code_reasoning"] == 125
    assert found.groups["position"] == 50
    perception, cognition = 8 * 200 + 125 + 50, 3 * 200 + 125
    assert found.overall == {
        "perception": perception, "cognition": cognition, "total": perception + cognition,
    }  # fmt: skip
    assert found.counted == {"questions": 56, "missing": 1, "unreadable": 2}


@pytest.mark.parametrize(
    ("said", "label"),
    [("Yes", "yes"), ("no", "no"), ("No, it is not.", "no"), ("是", "yes"), ("不是", "no"),
     ("True", "yes"), ("A no", "no"), ("Well, yes", ""), ("", ""), ("not sure", "no"),
     ("\nyes", "yes"), ("否", "no")],
)  # fmt: skip
def test_an_answer_is_read_by_its_beginning(said: str, label: str) -> None:
    assert read_label(said) == label


@given(st.text())
def test_any_text_is_yes_or_no_or_nothing(said: str) -> None:
    assert read_label(said) in ("yes", "no", "")
    assert read_label("yes" + said) == "yes" and read_label("no" + said) in ("no", "yes")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    data = mme(tmp_path)
    (data / "count/0.jpg").unlink()
    with pytest.raises(BenchmarkError, match=r"count has no picture 0 .*unpack"):
        BENCHMARK.questions(data, None)
    assert BENCHMARK.score(data, None, {}).counted["missing"] == 28
    put(data / "count/0.txt", "Is it?\tYes\nIs it not?\tPerhaps\n")
    with pytest.raises(BenchmarkError, match=r"0.txt, line 2: it is .*Yes or No"):
        BENCHMARK.score(data, None, {})
    put(data / "count/0.txt", "Is it?\tYes\n")
    with pytest.raises(BenchmarkError, match="has 1 lines"):
        BENCHMARK.score(data, None, {})
    put(data / "count/0.txt", b"\xff")
    with pytest.raises(BenchmarkError, match=re.escape("0.txt, line 1: this is not UTF-8")):
        BENCHMARK.score(data, None, {})
    (data / "count/0.txt").unlink()
    with pytest.raises(BenchmarkError, match="MME_Benchmark_release_version"):
        BENCHMARK.score(data, None, {})
