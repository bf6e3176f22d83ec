"""The builder over a checkout of TIIF-Bench, here a small one of our own sentences in its layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.unicycle.building import __main__ as command
from evaluation.unicycle.building.tiif import build
from evaluation.unicycle.building.tiif_rules import rewritten
from evaluation.unicycle.instances import Question, read

Asked = list[tuple[str, str]]
COMPARED = ["owls", "ladders", "kettles", "violins", "tractors", "lanterns", "penguins", "bridges"]


def checkout(folder: Path, kinds: dict[str, list[tuple[str, Asked]]]) -> Path:
    for kind, rows in kinds.items():
        save(folder, kind, [prompt for prompt, _ in rows], [asked for _, asked in rows])
    return folder


def save(folder: Path, kind: str, prompts: list[str], asked: list[Asked]) -> None:
    rows: dict[str, list[dict[str, Any]]] = {
        f"test_prompts/{kind}_prompts.jsonl": [
            {"type": kind, "short_description": text, "long_description": text} for text in prompts
        ],
        f"test_eval_prompts/{kind}_eval_prompts.jsonl": [
            {"type": kind, "yn_question_list": [q + "  " for q, _ in each],
             "yn_answer_list": [a for _, a in each]}
            for each in asked
        ],
    }  # fmt: skip
    for name, found in rows.items():
        file = folder / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in found))


SMALL: dict[str, list[tuple[str, Asked]]] = {
    "color+2d": [("The green kettle is to the left of the red owl.", [
        ("Is there a kettle in the image?", "yes"), ("Is the kettle green?", "yes"),
        ("Is the owl red in color?", "Yes"), ("Is the kettle on the left of the owl?", "yes")])],
    "negation": [("A hat without any feather.", [
        ("Is there a hat in the image?", "yes"), ("Is there a feather in the image?", "no"),
        ("Does the hat have a feather?", "no"), ("Is the feather blue?", "yes")])],
    "numeracy+texture": [("Three wooden owls and one kettle.", [
        ("Is the number of owls 3?", "yes"), ("Is the number of kettle 1?", "yes"),
        ("Are the owls wooden?", "yes")])],
    "style": [("An owl in Woodcut style", [("Is the image in Woodcut style?", "Yes")])],
    "text": [('A mug, with the text on it: "Good", "owl", "good".', [
        ("Is the text 'Good' in the image?", "Yes")])],
    "real_world": [("A long text about an owl.", [("Does this image show an owl?", "yes")])],
    "comparison": [(f"The {a} are taller than the {b}.", [
        ("Are there things in the image?", "yes"),
        (f"Does the image present a comparison logic: {a} are taller than {b}?", "yes")])
        for a, b in zip(COMPARED, [*COMPARED[1:], "clocks"], strict=True)],
}  # fmt: skip


def test_every_kind_gets_its_kind_of_question(tmp_path: Path) -> None:
    made, report = build(checkout(tmp_path, SMALL))
    asked = {each.kind: each.questions for each in made}
    kinds = {kind: [q.kind for q in questions] for kind, questions in asked.items()}
    assert kinds == {
        "color+2d": ["open", "open", "choice"],
        "comparison": ["choice"],
        "negation": ["yes_no"],
        "numeracy+texture": ["open", "open", "choice"],
        "style": ["open"],
        "text": ["text"],
    }
    assert [q.answer for q in asked["numeracy+texture"]] == ["three", "one", "wood"]
    assert asked["numeracy+texture"][1].text == "How many kettles are there in the picture?"
    assert asked["text"][0].keywords == ("Good", "owl", "good")
    assert asked["negation"][0].text == "Is there a feather in the image?"
    assert report.left_out["redundant"] == report.left_out["about what is absent"] == 1
    assert report.rows["real_world"] == 1 and "real_world" not in report.instances
    assert report.shifted == []


def test_shifted_rows_are_found_by_what_they_say_and_reported(tmp_path: Path) -> None:
    prompts = [prompt for prompt, _ in SMALL["comparison"]]
    asked = [questions for _, questions in SMALL["comparison"]]
    # From row 3 on each row has the questions of the row before, and row 2's stand twice.
    save(tmp_path, "comparison", prompts, [*asked[:2], *asked[1:-1]])
    made, report = build(tmp_path)
    assert report.shifted == [
        f"comparison, row {row}: its questions are in row {row + 1}" for row in range(3, 8)
    ]
    # Row 8's own questions are half about it: what they ask is not in the prompt, and left out.
    assert report.left_out["not in the prompt"] == 1
    for each in made:
        assert each.questions[0].answer in each.prompt, each
    assert len(made) == 7


def test_the_checkouts_order_of_options_follows_from_the_seed(tmp_path: Path) -> None:
    checkout(tmp_path, SMALL)
    assert build(tmp_path, seed=1)[0] == build(tmp_path, seed=1)[0]
    assert any(build(tmp_path, seed=seed)[0] != build(tmp_path, seed=1)[0] for seed in range(5))


@pytest.mark.parametrize(
    ("asked", "kind", "answer"),
    [
        ("Is the owl hidden behind the kettle?", "choice", "behind it"),
        ("Is the owl on the top of the kettle?", "choice", "above it"),
        ("Is the owl next to the kettle?", "choice", "next to it"),
        ("Is the owl on the left of the image?", None, "unread"),
        ("Is the owl shaped like a cube?", "open", "cube"),
        ("Are the owls teardrop-shaped?", "open", "teardrop"),
        ("Is the owl fluffy?", "open", "fluffy"),
        ("Is the kettle made of metal?", "choice", "metal"),
        ("Is the owl watching the kettle?", "open", "watching the kettle"),
        ("Is the owl wearing white?", None, "unread"),
        ("Is the number of owls 0?", None, "unread"),
        ("Does the image present a differentiation logic: one owl has a hat?", None, "differentiation"),
    ],
)  # fmt: skip
def test_a_question_is_rewritten_or_named_as_left_out(
    asked: str, kind: str | None, answer: str
) -> None:
    # Of 30 generators one leaves the true option out in five: the answer is the same in all others.
    found = [rewritten(asked, "yes", False, np.random.default_rng(seed)) for seed in range(30)]
    answers = {each.answer if isinstance(each, Question) else each for each in found}
    assert answers - {"none of these"} == {answer}
    assert {each.kind if isinstance(each, Question) else None for each in found} == {kind}


def test_the_command_writes_a_file_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout(tmp_path, SMALL)
    file = tmp_path / "tiif.jsonl"
    assert command.main(["tiif", str(tmp_path), str(file)]) == 0
    said = capsys.readouterr().out
    assert len(read(file)) == 13
    assert "left out: 1 of 1 prompts of real_world, without a question" in said


def test_a_checkout_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["tiif", str(tmp_path), str(tmp_path / "x.jsonl")]) == 2
    assert "name the folder of a checkout of TIIF-Bench" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["{", "[]", '{"yn_question_list": []}',
    '{"yn_question_list": ["Is the owl red?"], "yn_answer_list": []}'])  # fmt: skip
def test_a_damaged_row_is_named(tmp_path: Path, line: str) -> None:
    checkout(tmp_path, SMALL)
    file = tmp_path / "data" / "test_eval_prompts" / "style_eval_prompts.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(BenchmarkError, match=r"style_eval_prompts\.jsonl, line 1"):
        build(tmp_path)
