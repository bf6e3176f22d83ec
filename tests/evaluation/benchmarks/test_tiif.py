"""TIIF-Bench over a small checkout of our own in its layout, all of its types in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.registry import load
from evaluation.benchmarks.tiif import KINDS, MAX_TOKENS, answers
from policies.pictures import PictureError
from tests.evaluation.benchmarks.pictures import BROKEN, draw

TIIF = load("tiif")
Rows = list[tuple[list[str], list[str]]]
PLAIN: Rows = [(["Is it a cat?  ", "Is it a dog?"], ["Yes", "no"])]
TWO: Rows = [(["Is it a cat?", "Is it red?", "Is it round?"], ["yes"] * 3), (["Is it?"], ["yes"])]
ROWS: dict[str, Rows] = {**dict.fromkeys(KINDS, PLAIN), "shape+color": TWO}
NAMES = [
    f"{kind}/ours/{length}_description/{index}.png"
    for kind in KINDS
    for length in ("short", "long")
    for index in range(len(ROWS[kind]))
]
NOT_DRAWN = ("shape+texture/ours/short_description/0.png", "style/ours/long_description/0.png")


def save(folder: Path, kind: str, rows: Rows) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"type": kind, "yn_question_list": asked, "yn_answer_list": right}) + "\n"
        for asked, right in rows
    ]
    (folder / f"{kind}_eval_prompts.jsonl").write_text("".join(lines))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for kind in KINDS:
        save(tmp_path / "data" / "testmini_eval_prompts", kind, ROWS[kind])
    return tmp_path


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return draw(tmp_path / "drawn", (name for name in NAMES if name not in NOT_DRAWN))


def said() -> dict[str, str]:
    """What a judge answers; all right, but for what the test says of it."""
    found = {}
    for kind in KINDS:
        for length in ("short", "long"):
            found[f"testmini-{kind}-{length}-000"] = "yes, it is one.\n\n  NO: it is none.\n"
    for length in ("short", "long"):
        found[f"testmini-shape+color-{length}-000"] = "Here they are:\nyes\nyes, it is\nYes."
        found[f"testmini-shape+color-{length}-001"] = "Yes"
    found |= {
        "testmini-shape+color-short-000": "yes\nno\nno",
        "testmini-color+texture-short-000": "yes\nyes",
        "testmini-2d_spatial_relation-short-000": "yes",
        "testmini-negation-short-000": "no\nyes",
        "testmini-numeracy+color-short-000": "no\nno",
        "testmini-text-short-000": "yes\nyes",
        "testmini-real_world-short-000": "no\nyes",
    }
    for name in ("shape+texture-short", "style-long", "action+3d-long"):
        del found[f"testmini-{name}-000"]
    return found


def test_scores_are_those_that_were_computed_by_hand(checkout: Path, drawn: Path) -> None:
    found = TIIF.score(checkout, drawn, said())
    # 80 drawings: a reply with one answer of two, two not drawn, one drawn and not answered.
    assert found.counted == {"scored": 76, "unparsable": 1, "no_answer": 1, "no_drawing": 2}
    short = {
        # 2 of 4 questions, 1 of 2, 2 of 2; shape+texture is not there
        "attribute": 100 * (1 / 2 + 1 / 2 + 1) / 3,
        "relation": 100.0,
        "reasoning": 75.0,
        "attribute+relation": 100.0,
        "attribute+reasoning": 100 * (7 + 1 / 2) / 8,
        "relation+reasoning": 100.0,
        "text": 50.0,
        "style": 100.0,
        "real world": 0.0,
    }
    for group, value in short.items():
        assert found.groups[f"{group}, short"] == pytest.approx(value), group
    long = {name: value for name, value in found.groups.items() if name.endswith(", long")}
    assert len(long) == 8 and set(long.values()) == {100.0} and "style, long" not in long
    assert found.overall == pytest.approx(
        {
            "short": (200 / 3 + 100 + 75 + 100 + 93.75 + 100 + 50 + 100 + 0) / 9,
            "short, unanswered as 0": (50 + 75 + 75 + 100 + 93.75 + 100 + 50 + 100 + 0) / 9,
            "long": 100.0,
            "long, unanswered as 0": (7 * 100 + 75 + 0) / 9,
        }
    )


def test_without_drawings_what_is_missing_has_no_answer(checkout: Path) -> None:
    counted = TIIF.score(checkout, None, said()).counted
    assert counted == {"scored": 76, "unparsable": 1, "no_answer": 3, "no_drawing": 0}


def test_all_questions_of_a_drawing_are_asked_at_once(checkout: Path, drawn: Path) -> None:
    asked = {each.id: each for each in TIIF.questions(checkout, drawn)}
    assert len(asked) == 78 and "testmini-shape+texture-short-000" not in asked
    one = asked["testmini-shape+color-long-000"]
    text, picture = one.parts
    assert picture == drawn / "shape+color" / "ours" / "long_description" / "0.png"
    assert "Is it a cat?\nIs it red?\nIs it round?\n" in str(text) and "3 in all" in str(text)
    assert one.max_tokens == MAX_TOKENS
    assert TIIF.doubts(checkout, said()) == ()


def test_another_split_is_named_by_the_folder_of_its_questions(checkout: Path, drawn: Path) -> None:
    full = checkout / "data" / "test_eval_prompts"
    for kind in KINDS:
        save(full, kind, ROWS[kind])
    ids = {each.id for each in TIIF.questions(full, drawn)}
    assert "test-style-short-000" in ids
    with pytest.raises(BenchmarkError, match=r"no question 'testmini-.*were asked"):
        TIIF.score(full, None, said())


def test_what_cannot_be_asked_about_is_refused(checkout: Path, drawn: Path) -> None:
    with pytest.raises(BenchmarkError, match="tiif asks about drawings: name their folder"):
        TIIF.questions(checkout, None)
    with pytest.raises(BenchmarkError, match=r"no picture of tiif: .*TYPE/MODEL"):
        TIIF.questions(checkout, checkout)
    broken = drawn / "text" / "ours" / "short_description" / "0.png"
    broken.write_bytes(BROKEN)
    with pytest.raises(PictureError, match=rf"{broken} is not a picture"):
        TIIF.questions(checkout, drawn)
    draw(drawn, ["text/ours/long_description/0.jpg"])
    with pytest.raises(BenchmarkError, match=r"long_description has 0\.jpg and 0\.png"):
        TIIF.questions(checkout, drawn)
    draw(drawn, ["style/theirs/long_description/0.png"])
    with pytest.raises(BenchmarkError, match="drawings of ours, theirs: name a folder of one"):
        TIIF.questions(checkout, drawn)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([([], [])], "line 1: yn_question_list is \\[\\]: it must be a list of texts"),
        ([*PLAIN, (["Is it?"], ["maybe"])], "line 2: yn_answer_list is \\['maybe'\\]: it must be 1 times"),
        ([(["Is it?"], ["yes", "no"])], "line 1: yn_answer_list is .*: it must be 1 times yes or no"),
        ([(["Is it?"], [3])], "line 1: yn_answer_list is \\[3\\]: it must be a list of texts"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_scored_is_named(checkout: Path, rows: Rows, message: str) -> None:
    save(checkout / "data" / "testmini_eval_prompts", "style", rows)
    with pytest.raises(BenchmarkError, match=rf"style_eval_prompts\.jsonl, {message}"):
        TIIF.score(checkout, None, {})


def test_a_folder_that_is_no_checkout_is_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="name the folder of a checkout of TIIF-Bench"):
        TIIF.score(tmp_path / "none", None, {})
    (checkout / "data" / "testmini_eval_prompts" / "text_eval_prompts.jsonl").unlink()
    with pytest.raises(BenchmarkError, match=r"text_eval_prompts\.jsonl cannot be read"):
        TIIF.score(checkout, None, {})


WRITTEN = st.lists(st.sampled_from(["yes", "No", "yesterday", "-", " ", "\n", "\r\n", ".", "1."]))


@given(st.text() | WRITTEN.map("".join), st.integers(1, 5))
def test_any_reply_answers_all_questions_or_none(reply: str, count: int) -> None:
    found = answers(reply, count)
    assert found is None or (len(found) == count and set(found) <= {"yes", "no"})


def test_lines_that_begin_otherwise_are_passed_over() -> None:
    assert answers("Answers:\n  Yes - red.\n1. no\nNO", 2) == ["yes", "no"]
    assert answers("yesterday\nnothing\nno", 1) == ["no"]
    assert answers("yes\nyes", 1) is answers("yes", 2) is answers("", 1) is None
