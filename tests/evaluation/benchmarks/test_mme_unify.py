"""MME-Unify by hand, with a real CLIP that was never trained: a picture is nearest to itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.mme_unify import (
    BENCHMARK,
    CLIP,
    EXPLAINED,
    TASKS,
    UNDERSTANDING,
    VIDEO,
    read_letter,
)
from tests.actors.hygiene.samples import landscape, portrait, save_clip
from tests.evaluation.benchmarks.making import put

OPTIONS = ["B: the sky", "A: a face", "C: a long description", "D: somebody"]


def png(number: int) -> bytes:
    import io

    from PIL import Image

    file, shown = io.BytesIO(), portrait() if number == 0 else landscape(number)
    Image.fromarray(shown.pixels).save(file, "PNG")
    return file.getvalue()


def task_row(name: str, number: int) -> dict[str, Any]:
    task = TASKS[name]
    data = {key: f"{name}/{number}/{key}.png" for key in (*task.shown, *task.offered)}
    row = {"id": number, "choice": OPTIONS, "answer": "A", "data": data}
    return row if name == "SpotDiff" else {**row, "question": "Which is it?"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    asked = [
        {"image": ["one.png"], "question": "Where?", "answer": "B", "category": "Single",
         "choice": ["\uff08A\uff09 left", "\uff08B\uff09 right"]},
        {"image": ["one.png", "two.png"], "question": "<img> and <img> differ?", "answer": "A",
         "category": "Several", "choice": ["A. yes", "B. no"]},
        {"image": ["one.png", "two.png"], "question": "Same?", "answer": "A", "category": "Several",
         "choice": ["(A) yes", "(B) no"]},
        {"image": ["film.mp4"], "question": "When?", "answer": "A", "category": VIDEO, "choice": ["A. now"]},
    ]  # fmt: skip
    put(tmp_path / UNDERSTANDING, json.dumps(asked))
    for name in ("one.png", "two.png"):
        put(tmp_path / name, png(1))
    for name, task in TASKS.items():
        rows = [task_row(name, number) for number in (0, 1)]
        put(tmp_path / "Unify_Dataset/Uinfy_capability" / task.file, json.dumps(rows))
        for number in (0, 1):
            for place, key in enumerate((*task.offered, *task.shown)):
                put(tmp_path / f"{name}/{number}/{key}.png", png(place))
    return tmp_path


def test_pictures_stand_where_the_question_has_them(data: Path) -> None:
    asked = {each.id: each for each in BENCHMARK.questions(data, None)}
    assert len(asked) == 3 + 8  # no video
    one, two = data / "one.png", data / "two.png"
    form = "Answer with the letter of the right option only."
    assert asked["Understanding_Unified/0"].parts == (one, f"Where?\nA. left\nB. right\n{form}")
    assert asked["Understanding_Unified/1"].parts == (
        one, " and ", two, f" differ?\nA. yes\nB. no\n{form}",
    )  # fmt: skip
    assert asked["Understanding_Unified/2"].parts[:2] == (one, two)
    assert asked["Common_Sense_Question/0"].parts == (
        f"Which is it?\nB. the sky\nA. a face\nC. a long description\nD. somebody\n{form}",
    )
    assert len(asked["SpotDiff/1"].parts) == 3
    assert "what this edit changes" in str(asked[f"{EXPLAINED}/0"].parts[1])


TEXTS = {
    "Understanding_Unified/0": "B", "Understanding_Unified/1": "B", "Understanding_Unified/2": "Answer: A",
    **{f"{name}/{n}": "A" for name in TASKS for n in (0, 1)},
}  # fmt: skip


def test_without_a_clip_the_letters_alone_are_scored(data: Path) -> None:
    answers = {**TEXTS, "SpotDiff/1": "I see none"}
    del answers["Auxiliary_Lines/0"]
    found = BENCHMARK.score(data, data / "drawn", answers)
    assert found.groups == {
        "Single": 100, "Several": 50, "Auxiliary_Lines/text": 50, "Common_Sense_Question/text": 100,
        "SpotDiff/text": 50,
    }  # fmt: skip
    assert found.overall == {"Single": 100, "Several": 50}
    assert found.counted == {"questions": 11, "missing": 1, "unreadable": 1}


def test_a_drawing_is_right_if_the_right_picture_is_the_nearest(data: Path) -> None:
    save_clip(data / CLIP)
    drawn = data / "drawn"
    for name in TASKS:
        put(drawn / name / "0.png", png(0))  # the very picture
    put(drawn / "SpotDiff/1.png", png(2))  # one of the wrong ones
    # The explanation is that of an option, word for word.
    answers = {**TEXTS, f"{EXPLAINED}/0": "a face", f"{EXPLAINED}/1": "the sky", "SpotDiff/0": "C"}
    found = BENCHMARK.score(data, drawn, answers)
    assert {name: value for name, value in found.groups.items() if name.startswith("SpotDiff")} == {
        "SpotDiff/text": 50, "SpotDiff/image": 50, "SpotDiff/combined": 0,
    }  # fmt: skip
    assert found.groups[f"{EXPLAINED}/text"] == found.groups[f"{EXPLAINED}/combined"] == 50
    assert found.groups["Auxiliary_Lines/text"] == 100
    assert found.overall["image"] == 50 and found.overall["text"] == (100 + 100 + 50 + 50) / 4
    assert found.overall["combined"] == (50 + 50 + 50 + 0) / 4
    assert found.counted["not drawn"] == 3 and found.counted["questions"] == 11


@pytest.mark.parametrize(
    ("said", "letter"),
    [("B", "B"), ("Answer: C", "C"), ("The answer is (D).", "D"), ("A dog. Answer: B", "B"), ("E", ""),
     ("None of them", ""), ("", ""), ("It's A", "A"), ("Bad", "")],
)  # fmt: skip
def test_a_letter_stands_alone(said: str, letter: str) -> None:
    assert read_letter(said, dict.fromkeys("ABCD", "")) == letter


@given(st.text())
def test_any_text_is_a_letter_or_nothing(said: str) -> None:
    assert read_letter(said, dict.fromkeys("ABCD", "")) in ("A", "B", "C", "D", "")


def test_what_is_missing_is_named(data: Path) -> None:
    (data / "two.png").unlink()
    with pytest.raises(BenchmarkError, match=r"row 2: .*two.png is not there"):
        BENCHMARK.questions(data, None)
    file = data / "Unify_Dataset/Uinfy_capability" / TASKS["SpotDiff"].file
    for change, rule in (
        ({"choice": ["none"]}, "an option of choice is 'none'"),
        ({"answer": "E"}, "answer is 'E'"),
    ):
        put(file, json.dumps([{**task_row("SpotDiff", 0), **change}]))
        with pytest.raises(BenchmarkError, match=f"row 1: {rule}"):
            BENCHMARK.score(data, None, {})
    file.unlink()
    with pytest.raises(BenchmarkError, match="Spot_Diff.json cannot be read"):
        BENCHMARK.score(data, None, {})
