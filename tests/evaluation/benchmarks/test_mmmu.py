"""MMMU by hand, and its parsers."""

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
from evaluation.benchmarks.mmmu import BENCHMARK, DOMAINS, TRUTHS
from evaluation.benchmarks.mmmu.parsing import matches, normalised, read_choice, read_open
from tests.evaluation.benchmarks.making import picture

KNOWN: dict[str, Any] = json.loads(TRUTHS.read_text())
OPEN = [id_ for id_, each in KNOWN.items() if each["question_type"] == "short-answer"]
CHOICES = [id_ for id_ in KNOWN if id_ not in OPEN]


def row(id_: str, **more: Any) -> dict[str, Any]:
    options = [] if id_ in OPEN else [f" option {letter} of it" for letter in "ABCDEFGHI"]
    return {"id": id_, "question": " What is <image 1>? ", "options": repr(options),
            "question_type": "open" if id_ in OPEN else "multiple-choice",
            "image_1": {"bytes": picture(9), "path": "one.png"}, "image_2": None, **more}  # fmt: skip


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A folder a subject, as the hub has it."""
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for each in rows:
        by_subject.setdefault("_".join(each["id"].split("_")[1:-1]), []).append(each)
    for subject, own in by_subject.items():
        file = folder / subject / "validation-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(own), file)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mmmu"), [row(id_) for id_ in KNOWN])


def truth(id_: str) -> str:
    found = KNOWN[id_]["ground_truth"]
    return str(found[0] if isinstance(found, list) else found)


def test_what_ships_is_the_validation_set() -> None:
    assert (len(KNOWN), len(CHOICES), len(OPEN)) == (900, 847, 53)
    subjects = [subject for of in DOMAINS.values() for subject in of]
    assert {"_".join(id_.split("_")[1:-1]) for id_ in KNOWN} == set(subjects)
    assert len(subjects) == 30


def test_a_question_is_its_pictures_and_then_its_text(data: Path) -> None:
    asked = {each.id: each for each in BENCHMARK.questions(data, None)}
    assert asked.keys() == KNOWN.keys()
    assert {(each.max_tokens, each.enlarged) for each in asked.values()} == {(10, 2)}
    image, text = asked[CHOICES[0]].parts
    assert image == picture(9)
    assert str(text).startswith("What is <image 1>?\nA. option A of it\nB. option B of it\n")
    assert str(text).endswith("\nAnswer with the option's letter from the given choices directly.")
    assert asked[OPEN[0]].parts[1] == (
        "What is <image 1>?\nAnswer the question using a single word or phrase."
    )


def test_the_score_is_that_of_hand(data: Path) -> None:
    right = {id_: truth(id_) for id_ in KNOWN}
    found = BENCHMARK.score(data, None, right)
    assert found.overall == {"accuracy": 100, "accuracy with guesses": 100}
    assert set(found.groups.values()) == {100} and len(found.groups) == 36
    # Ten of Art's thirty: five say nothing, four are missing, one names no option of nine.
    art = [id_ for id_ in CHOICES if id_.startswith("validation_Art_") and "Theory" not in id_][:10]
    answers = {**right, **dict.fromkeys(art[:5], ""), art[9]: "none"}
    for id_ in art[5:9]:
        del answers[id_]
    found = BENCHMARK.score(data, None, answers)
    assert found.counted == {"questions": 900, "missing": 4, "unreadable": 6}
    assert found.overall["accuracy"] == pytest.approx(100 * 890 / 900)
    assert found.overall["accuracy with guesses"] == pytest.approx(100 * (890 + 6 / 9) / 900)
    assert found.groups["Art"] == pytest.approx(100 * 20 / 30)
    assert found.groups["Art and Design"] == pytest.approx(100 * 110 / 120)
    assert found.groups["Science"] == 100


@pytest.mark.parametrize(
    ("said", "letter"),
    [("B", "B"), ("B.", "B"), ("(A) is wrong, so it is (C)", "C"), ("A or B", "B"), ("the red fox", ""),
     ("I think that it is the red fox", "C"), ("it is B, the best of all of them", ""), ("", ""),
     ("The answer is B", "B"), ("Answer: A", "A")],
)  # fmt: skip
def test_a_choice_is_read_by_the_official_rules(said: str, letter: str) -> None:
    assert read_choice(said, {"A": "cat", "B": "dog", "C": "Red Fox"}) == letter


@pytest.mark.parametrize(
    ("said", "accepted", "right"),
    [("36 watts", ["36"], True), ("So the result is 1,234.5", ["1234.5"], True), ("x = 0.301", ["0.3"], True),
     ("the Parthenon", ["parthenon"], True), ("-2e3", ["-2000"], True), ("3", ["30"], False),
     ("", ["30"], False), ("the x axis", ["x"], True), ("box", ["x"], False), ("seven", ["7"], False),
     ("It is 5 or 6", ["24/7", "6"], True)],
)  # fmt: skip
def test_an_open_answer_is_right_by_the_official_rules(
    said: str, accepted: list[str], right: bool
) -> None:
    assert matches(read_open(said), accepted) is right


@given(st.text(alphabet="AB(). 12,;='abso\n"), st.lists(st.text(), min_size=2, max_size=4))
def test_any_text_is_a_letter_or_nothing(said: str, texts: list[str]) -> None:
    options = dict(zip("ABCD", texts, strict=False))
    assert read_choice(said, options) in (*options, "")


@given(st.text(max_size=60))
def test_any_text_can_be_read_as_an_open_answer(said: str) -> None:
    assert read_open(said)


@given(st.integers(-(10**9), 10**9))
def test_a_number_is_right_however_it_is_written(number: int) -> None:
    for text in (str(number), f"{number:,}", f"{number}.00", f"so it is {number}"):
        assert matches(read_open(text), [str(number)])
    assert normalised(str(number)) == [float(number)]


def test_what_is_not_the_validation_set_is_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "few", [row(id_) for id_ in CHOICES[:3]])
    with pytest.raises(BenchmarkError, match="has 3 of MMMU's 900 validation questions"):
        BENCHMARK.score(few, None, {})
    other = write(tmp_path / "other", [row("test_Art_1")])
    with pytest.raises(BenchmarkError, match=r"row 1: 'test_Art_1' is no question"):
        BENCHMARK.score(other, None, {})
    bad = write(tmp_path / "bad", [row(CHOICES[0], options="[1, 2")])
    with pytest.raises(BenchmarkError, match=r"row 1: options is '\[1, 2'"):
        BENCHMARK.score(bad, None, {})
    twice = write(tmp_path / "twice", [row(CHOICES[0]), row(CHOICES[0])])
    with pytest.raises(BenchmarkError, match=r"id is .*, as in .*, row 1: "):
        BENCHMARK.score(twice, None, {})
    file = next(few.rglob("*.parquet"))
    file.write_bytes(b"PAR1")
    with pytest.raises(BenchmarkError, match="is no Parquet"):
        BENCHMARK.score(few, None, {})
    with pytest.raises(BenchmarkError, match="none cannot be read"):
        BENCHMARK.score(tmp_path / "none", None, {})
