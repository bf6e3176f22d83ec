"""Both editions of WISE over prompts of our own with its ids."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.registry import load
from evaluation.benchmarks.wise import FILES, verified_score, wiscore
from policies.pictures import PictureError
from tests.evaluation.benchmarks.pictures import BROKEN, draw

WISE = load("wise")
Row = dict[str, Any]
PARTS = {"": (400, 700, 1000), "_verified": (400, 640, 1000)}


def row(number: int) -> Row:
    return {"Prompt": f"prompt {number} {{", "Explanation": f"sense {number}", "prompt_id": number}


def save(folder: Path, suffix: str, rows: Iterable[Row]) -> Path:
    """Each row goes into the file of its id."""
    first, second, _ = PARTS[suffix]
    parts: dict[str, list[Row]] = {name: [] for name in FILES}
    for each in rows:
        place = sum(each["prompt_id"] > last for last in (first, second))
        parts[FILES[place]].append(each)
    folder.mkdir(exist_ok=True)
    for name, found in parts.items():
        (folder / f"{name}{suffix}.json").write_text(json.dumps(found))
    return folder


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return save(tmp_path / "legacy", "", map(row, range(1, 1001)))


@pytest.fixture
def verified(tmp_path: Path) -> Path:
    return save(tmp_path / "verified", "_verified", map(row, range(1, 1001)))


def grades(consistency: int, realism: int, beauty: int) -> str:
    return f"**Consistency**: {consistency}\nRealism: {realism}\nAesthetic Quality: {beauty}"


def test_legacys_scores_are_those_that_were_computed_by_hand(legacy: Path) -> None:
    replies = [
        (range(1, 401), grades(2, 1, 0)),  # culture: (0.7 * 2 + 0.2 * 1) / 2
        (range(401, 567), grades(2, 2, 2)),  # time, of which 567 is unreadable
        (range(567, 568), "It is a good picture."),
        (range(568, 701), "0\n2\n2\n"),  # space: (0.2 * 2 + 0.1 * 2) / 2
        (range(701, 801), grades(0, 0, 0)),  # biology
        (range(801, 901), grades(1, 1, 1)),  # physics
        (range(902, 951), grades(2, 2, 2)),  # chemistry, of which 901 is missing
        (range(951, 1001), grades(0, 0, 0)),
    ]
    answers = {f"legacy-{number:04d}": reply for ids, reply in replies for number in ids}
    found = WISE.score(legacy, None, answers)
    assert found.counted == {"scored": 998, "unparsable": 1, "no_answer": 1, "no_drawing": 0}
    assert found.groups == pytest.approx(
        {"culture": 0.8, "time": 1.0, "space": 0.3, "biology": 0.0, "physics": 0.5,
         "chemistry": 49 / 99}
    )  # fmt: skip
    shares = 0.4 * 0.8 + 0.133 * 0.3 + 0.1 * 0.0 + 0.1 * 0.5
    assert found.overall == pytest.approx(
        {
            "legacy, weighted": shares + 0.167 * 1 + 0.1 * 49 / 99,
            "legacy, unweighted": (0.8 + 1 + 0.3 + 0 + 0.5 + 49 / 99) / 6,
            "legacy, weighted, unanswered as 0": shares + 0.167 * 166 / 167 + 0.1 * 0.49,
            "legacy, unweighted, unanswered as 0": (0.8 + 166 / 167 + 0.3 + 0 + 0.5 + 0.49) / 6,
        }
    )


def test_verifieds_scores_are_those_that_were_computed_by_hand(verified: Path) -> None:
    right = {*range(1, 301), *range(401, 521), *range(641, 701), *range(761, 881), 881, 1000}
    answers = {f"verified-{n:04d}": f"Score: {int(n in right)}" for n in range(1, 1001)}
    answers["verified-0300"] = "Score: 2"
    found = WISE.score(verified, None, answers)
    assert found.counted == {"scored": 999, "unparsable": 1, "no_answer": 0, "no_drawing": 0}
    groups = {"culture": 299 / 399, "time": 1.0, "space": 0.0, "biology": 0.5, "physics": 1.0,
              "chemistry": 2 / 120}  # fmt: skip
    assert found.groups == pytest.approx(groups)
    rest = 0.12 * (1 + 0 + 0.5 + 1 + 2 / 120)
    assert found.overall == pytest.approx(
        {
            "verified, weighted": 0.4 * 299 / 399 + rest,
            "verified, unweighted": (299 / 399 + 2.5 + 2 / 120) / 6,
            "verified, weighted, unanswered as 0": 0.4 * 299 / 400 + rest,
            "verified, unweighted, unanswered as 0": (299 / 400 + 2.5 + 2 / 120) / 6,
        }
    )


def test_a_category_without_a_reply_leaves_no_official_overall(legacy: Path) -> None:
    answers = {f"legacy-{number:04d}": grades(2, 2, 2) for number in range(1, 901)}
    found = WISE.score(legacy, None, answers)
    assert set(found.groups.values()) == {1.0} and len(found.groups) == 5
    assert found.overall == pytest.approx(
        {"legacy, weighted, unanswered as 0": 0.9, "legacy, unweighted, unanswered as 0": 5 / 6}
    )


def test_each_drawing_is_asked_about_in_its_editions_way(
    legacy: Path, verified: Path, tmp_path: Path
) -> None:
    drawn = draw(tmp_path / "drawn", ["1.png", "1000.png", "2.jpg"])
    for data, name, tokens in ((legacy, "legacy", 2000), (verified, "verified", 500)):
        first, last = WISE.questions(data, drawn)
        assert (first.id, last.id) == (f"{name}-0001", f"{name}-1000")
        text, picture = last.parts
        assert picture == drawn / "1000.png" and last.max_tokens == tokens
        assert "prompt 1000 {" in str(text) and "sense 1000" in str(text)
        counted = WISE.score(data, drawn, {last.id: "nothing"}).counted
        assert counted == {"scored": 0, "unparsable": 1, "no_answer": 1, "no_drawing": 998}
    (drawn / "1.png").write_bytes(BROKEN)
    with pytest.raises(PictureError, match=rf"{drawn / '1.png'} is not a picture"):
        WISE.questions(legacy, drawn)


def test_the_answers_of_one_edition_are_none_of_the_other(verified: Path) -> None:
    with pytest.raises(BenchmarkError, match="no question 'legacy-0001'"):
        WISE.score(verified, None, {"legacy-0001": grades(2, 2, 2)})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (map(row, range(1, 1000)), "has no prompt_id 1000"),
        (map(row, [*range(1, 1001), 700]), "prompt_id is 700, as in .*, row 300: give"),
        (map(row, range(1, 1002)), "prompt_id is 1001: it must be from 1 to 1000"),
        ([{"Prompt": "a", "prompt_id": 1}], "row 1: Explanation is missing"),
        ([{**row(1), "Prompt": " "}], "row 1: Prompt is ' ': it must be a text"),
        ([{**row(1), "prompt_id": True}], "row 1: prompt_id is True: it must be a whole number"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_whole_is_named(
    tmp_path: Path, rows: Iterable[Row], message: str
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        WISE.score(save(tmp_path / "data", "", rows), None, {})


def test_a_folder_of_neither_edition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="name WISE_legacy/data or data_verified"):
        WISE.score(tmp_path, None, {})


PIECES = ["Consistency", "realism", "Aesthetic Quality", "Score", "*", ":", " ", "\n", "0", "1",
          "2", "7", "<think>", "</think>", "\u017fcore", "٢"]  # fmt: skip
WRITTEN = st.lists(st.sampled_from(PIECES)).map("".join) | st.text()


@given(WRITTEN)
def test_any_reply_has_a_mark_in_range_or_none(reply: str) -> None:
    assert wiscore(reply) is None or 0 <= wiscore(reply) <= 1
    assert verified_score(reply) in (None, 0.0, 1.0)


@pytest.mark.parametrize(
    ("reply", "mark"),
    [
        ("consistency: 2\n**Realism**: 2\nAESTHETIC QUALITY 1", 0.95),
        ("Consistency: 0\nRealism: 0\nAesthetic Quality: 0\nNo: Consistency: 2", 0.7),
        (" 2\n1\n\n0 \n2", 0.8),
        ("Consistency: 2\nRealism: 2", None),
        ("Consistency: 2\n2\n2\n2", None),
        ("Consistency: 3\nRealism: 2\nAesthetic Quality: 1", None),
        ("2\n1", None),
    ],
)
def test_grades_are_read_by_name_or_from_three_bare_lines(reply: str, mark: float | None) -> None:
    assert wiscore(reply) == pytest.approx(mark)


@pytest.mark.parametrize(
    ("reply", "mark"),
    [
        ("**Score**: 1", 1.0),
        ("score 0, or Score: 1", 0.0),
        ("<think>Score: 1?</think>\nScore: 0", 0.0),
        ("Why not.\n 1 ", 1.0),
        ("1\n0", None),
        ("Score: 10", None),
        ("Score: 0.5", 0.0),
    ],
)
def test_a_binary_score_is_read_by_name_or_from_the_only_bare_line(
    reply: str, mark: float | None
) -> None:
    assert verified_score(reply) == mark
