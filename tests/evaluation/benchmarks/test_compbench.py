"""T2I-CompBench by SRUM's rules over a few prompts of our own of all ten categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.compbench import BASE, COMPLEX, parsed_score
from evaluation.benchmarks.registry import load
from policies.pictures import PictureError
from tests.evaluation.benchmarks.pictures import BROKEN, draw

COMPBENCH = load("compbench")
CATEGORIES = (*BASE, *COMPLEX)
ROWS: list[dict[str, Any]] = [
    {"Question": f"a thing of {category}", "Category": category, "Question_id": 100 * place + own}
    for place, category in enumerate(CATEGORIES, 1)
    for own in (1, 2)
]


def save(folder: Path, rows: object) -> Path:
    (folder / "val_comp.json").write_text(json.dumps(rows))
    return folder


def said(score: object) -> str:
    return f'```json\n{{"score": {score}, "explanation": "so"}}\n```'


ANSWERS = {f"{row['Category']}-{row['Question_id']}": said(60) for row in ROWS} | {
    "color-101": said(100), "color-102": said(51),
    "shape-201": "It is good.", "shape-202": said(80),
    "texture-301": said(0), "texture-302": said(850),
    "complex-801": said(90), "complex-802": said(90),
    "complex_action-901": said(30),
    "complex_spatial-1001": "?", "complex_spatial-1002": "!",
}  # fmt: skip


def test_scores_are_those_that_were_computed_by_hand(tmp_path: Path) -> None:
    answers = {**ANSWERS}
    del answers["spatial-401"], answers["complex_action-902"]
    found = COMPBENCH.score(save(tmp_path, ROWS), None, answers)
    assert found.counted == {"scored": 14, "unparsable": 4, "no_answer": 2, "no_drawing": 0}
    assert found.groups == {
        "color": 75.5,
        "shape": (-1 + 80) / 2,
        "texture": (0 - 1) / 2,  # 850 is no score
        "spatial": 60.0,  # of one
        "non-spatial": 60.0,
        "numeracy": 60.0,
        "3d_spatial": 60.0,
        "complex": 90.0,
        "complex_action": 30.0,  # of one
        "complex_spatial": -1.0,
        "complex, mean of three": (90 + 30 - 1) / 3,
    }
    assert found.overall == pytest.approx(
        {
            "official, unparsable as -1": (75.5 + 39.5 - 0.5 + 4 * 60 + 119 / 3) / 8,
            "unanswered as 0": (75.5 + 40 + 0 + 30 + 3 * 60 + (90 + 15 + 0) / 3) / 8,
        }
    )


def test_without_a_reply_in_each_category_there_is_no_official_overall(tmp_path: Path) -> None:
    answers = {id: reply for id, reply in ANSWERS.items() if not id.startswith("complex_spatial")}
    found = COMPBENCH.score(save(tmp_path, ROWS), None, answers)
    assert list(found.overall) == ["unanswered as 0"]


def test_drawings_are_found_in_either_layout(tmp_path: Path) -> None:
    drawn = draw(
        tmp_path / "drawn",
        ["color_50_think/101.png", "complex_action_50_no_think/samples/902.webp"],
    )
    first, second = COMPBENCH.questions(save(tmp_path, ROWS), drawn)
    assert (first.id, second.id) == ("color-101", "complex_action-902")
    picture, text = second.parts
    assert picture == drawn / "complex_action_50_no_think" / "samples" / "902.webp"
    assert '"a thing of complex_action"' in str(text) and second.max_tokens == 512
    counted = COMPBENCH.score(tmp_path / "val_comp.json", drawn, {first.id: said(3)}).counted
    assert counted == {"scored": 1, "unparsable": 0, "no_answer": 1, "no_drawing": 18}


def test_drawings_that_cannot_be_asked_about_are_refused(tmp_path: Path) -> None:
    data, drawn = save(tmp_path, ROWS), draw(tmp_path / "drawn", ["color_50_think/101.png"])
    (drawn / "color_50_think" / "102.png").write_bytes(BROKEN)
    with pytest.raises(PictureError, match=r"102\.png is not a picture"):
        COMPBENCH.questions(data, drawn)
    draw(drawn, ["color_50_no_think/101.png"])
    with pytest.raises(BenchmarkError, match="has color_50_think and color_50_no_think: name"):
        COMPBENCH.questions(data, drawn)
    with pytest.raises(BenchmarkError, match="no picture of compbench"):
        COMPBENCH.questions(data, tmp_path / "nothing")
    with pytest.raises(BenchmarkError, match="name their folder"):
        COMPBENCH.questions(data, None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "holds {}: it must be a list"),
        ([{**ROWS[0], "Category": "colour"}], "row 1: Category is 'colour': it must be one of color, "),
        ([ROWS[0], ROWS[0]], "row 2: Question_id is 101, as in .*, row 1: "),
        ([*ROWS, "more"], "row 21: it is 'more': it must be a JSON object"),
        (ROWS[2:], "has no row of color"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_scored_is_named(tmp_path: Path, rows: object, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        COMPBENCH.score(save(tmp_path, rows), None, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[", r": it is not JSON \("),
        (b"[" * 100_000, r": it is not JSON \("),
        (b"\xff\xfe", r", line 1: this is not UTF-8 \("),
        (None, r" cannot be read \("),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / "val_comp.json").write_bytes(data)
    with pytest.raises(BenchmarkError, match=rf"val_comp\.json{message}"):
        COMPBENCH.score(tmp_path, None, {})


PIECES = ["{", "}", '"score"', ":", " ", '"', "7", "99", "101", "-1", ".5", "true", "```json",
          "9" * 5000, ",", "\n", '"score": 12', "٣"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_any_reply_has_a_score_in_range_or_none(reply: str) -> None:
    found = parsed_score(reply)
    assert found is None or 0 <= found <= 100


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 85, "explanation": "a \\"red\\" thing"}', 85),
        ('First {"a": 1}: ```json\n{"score": 7,\n"explanation": "x"}```', 7),
        ('{"score": "42"}', 42),
        ('{"score": 85.5}', 85),
        ('"score": 3 and "score": 4', 3),
        ('"score": 3, so {"score": 4}', 4),
        ('{"explanation": "it broke off", "score": 9', 9),
        ('{"Score": 9}', None),
        ('{"score": -9}', None),
        ('{"score": 101}', None),
        ('{"score": ' + "9" * 5000 + "}", None),
        ("85", None),
    ],
)
def test_a_score_is_read_from_the_object_or_else_from_its_field(
    reply: str, score: float | None
) -> None:
    assert parsed_score(reply) == score
