"""How far judges agree: hand-computed, and what stays out of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.judges.agreement import agreement, kappa, main
from evaluation.judges.asking import Answered
from evaluation.judges.itself import ItselfReading
from evaluation.suites import load_suite
from evaluation.tasks import listing
from evaluation.unicycle.instances import Instance, Question
from evaluation.unicycle.judging import UNPARSABLE
from tests.evaluation.unicycle.test_judging import ABSENT, BULB, PLATE, TABLE


def sample(name: str, *verdicts: tuple[str, float, str]) -> dict[str, object]:
    asked = [{"answer": a, "mark": m, "status": s} for a, m, s in verdicts]
    return {"id": name, "questions": asked}


def verdicts(*marks: float, status: str = "judged") -> dict[tuple[str, int], dict[str, object]]:
    return {(f"{i:03d}", 1): {"answer": "red", "mark": mark, "status": status}
            for i, mark in enumerate(marks)}  # fmt: skip


def test_percent_and_kappa_are_the_hand_computed_ones() -> None:
    """Of 50, 35 the same; by chance half of them: (0.7 - 0.5) / (1 - 0.5)."""
    first = verdicts(*[1] * 25, *[0] * 25)
    second = verdicts(*[1] * 20, *[0] * 5, *[1] * 10, *[0] * 15)
    found = agreement(first, second)
    assert (found.questions, found.same, found.first, found.second) == (50, 35, 5, 10)
    assert found.kappa == pytest.approx(0.4)


def test_a_part_of_the_words_is_a_mark_of_its_own() -> None:
    assert kappa([(0.5, 0.5), (0, 0), (1, 0.5), (1, 1)]) == pytest.approx(
        (0.75 - 5 / 16) / (11 / 16)
    )
    assert kappa([(1, 1), (1, 1)]) is None and kappa([]) is None


def test_what_could_not_be_read_stays_out_and_is_counted() -> None:
    both = verdicts(1, 0) | {("x", 1): {"answer": "red", "mark": 0, "status": "unparsable"}}
    found = agreement(
        both, verdicts(1, 0) | {("x", 1): {"answer": "red", "mark": 1, "status": "judged"}}
    )
    assert (found.questions, found.same, found.unread) == (2, 2, 1)


def saved(folder: Path, judge: str, *rows: dict[str, object]) -> None:
    (folder / f"by-{judge}").mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"by-{judge}" / "samples.jsonl").write_text(lines, encoding="utf-8")


def test_the_command_shows_every_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = sample("a", ("one\u2028line", 1, "judged"), ("red", 0, "judged"))
    for judge in ("rules", "itself", "large"):
        saved(tmp_path, judge, row)
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "itself, large", "itself, rules", "large, rules",
    ]  # fmt: skip
    assert all("100.0%" in line and "1.000" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("second", "told"),
    [(None, "has verdicts of rules"),
     ([sample("a", ("blue", 1, "judged"))], "question 1 of a was answered anew"),
     ([{"id": "a"}], "samples.jsonl, line 1 is damaged")],
)  # fmt: skip
def test_what_does_not_compare_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: list[dict[str, object]] | None,
    told: str,
) -> None:  # fmt: skip
    saved(tmp_path, "rules", sample("a", ("red", 1, "judged")))
    if second is not None:
        saved(tmp_path, "itself", *second)
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


CASES = [
    (PLATE, PLATE.questions[0], "to the right", "to the right", 1),
    (PLATE, PLATE.questions[0], "C", "to the right", 1),
    (PLATE, PLATE.questions[0], "directly above", "to the right", 0),
    (PLATE, PLATE.questions[0], "to the right", "somewhere", None),
    (TABLE, TABLE.questions[0], "square", "square", 1),
    (ABSENT, ABSENT.questions[1], "no", "yes", 0),
    (ABSENT, ABSENT.questions[1], "no", "perhaps", None),
    (BULB, BULB.questions[0], "Bright ideas", "Bright ideas light way", 0.5),
    (BULB, BULB.questions[0], "Bright ideas", "", None),
]
"""An answer, what the model reads where the prompt is true, and the mark."""


@pytest.mark.parametrize(("instance", "question", "answer", "read", "mark"), CASES)
def test_a_model_that_reads_a_right_picture_judges_by_what_it_read(
    instance: Instance, question: Question, answer: str, read: str, mark: float | None
) -> None:
    judge = ItselfReading(None, "weights", 60, load_suite("tiny_world").shown)  # type: ignore[arg-type]
    verdict = judge.read(Answered(instance, question, answer), read)
    assert verdict is UNPARSABLE if mark is None else verdict.mark == mark


def test_the_picture_that_a_prompt_is_shown_by_is_right_and_always_the_same() -> None:
    suite = load_suite("tiny_world")
    for prompt, _ in suite.prompts(50, 3):
        picture = suite.shown(prompt)
        assert suite.verdict(picture.pixels, prompt).right, prompt
        assert np.array_equal(picture.pixels, suite.shown(prompt).pixels)


def test_a_list_for_a_person_names_each_instance_and_its_answers(tmp_path: Path) -> None:
    file = tmp_path / "own.md"
    assert listing.main([str(file), "--count", "7"]) == 0
    rows = [line for line in file.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {n}" for n in range(1, 8)]
    assert all("**" in row for row in rows)
    assert listing.main([str(file), "--samples", str(tmp_path / "none.jsonl")]) == 2
