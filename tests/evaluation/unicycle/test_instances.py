from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.unicycle.instances import Instance, Question, read, written

GOOD = {
    "id": "a", "kind": "color", "prompt": "a red bird",
    "questions": [{"kind": "open", "text": "What color is the bird?", "answer": "red"}],
}  # fmt: skip
CHOICE = {"kind": "choice", "text": "?", "answer": "b", "options": ["a", "b"]}


def saved(folder: Path, *rows: object, encoding: str = "utf-8") -> Path:
    file = folder / "prompts.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    return file


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    question = Question("text", "What is written?", "né “ok”", keywords=("né", "ok"))
    made = [
        Instance("a", "text", "un mot", (question,)),
        Instance("b", "x", "y", (Question(**CHOICE),)),
    ]  # type: ignore[arg-type]
    file = tmp_path / "own.jsonl"
    file.write_text(written(made), encoding="utf-8")
    assert [each.questions[0].text for each in read(file)] == ["What is written?", "?"]
    assert written(read(file)) == written(made)


def asks(**question: object) -> dict[str, object]:
    return GOOD | {"questions": [CHOICE | question]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({k: v for k, v in GOOD.items() if k != "prompt"}, "prompt is missing"),
        (GOOD | {"answers": []}, "'answers' is unknown"),
        (GOOD | {"prompt": "  "}, "prompt is '  '"),
        (GOOD | {"id": "../a"}, "id is '../a'"),
        (GOOD | {"id": 3}, "id is 3"),
        (GOOD | {"id": "a\n"}, "id is 'a"),
        (GOOD | {"id": "a" * 201}, "with at most 200 characters"),
        (json.dumps(GOOD | {"prompt": "a\ud800"}), "no half of a surrogate pair"),
        (json.dumps(asks(options=["b", "\ud800"])), "question 1: options is"),
        (GOOD | {"questions": []}, "questions is []"),
        (GOOD | {"questions": "why"}, "questions is 'why'"),
        (asks(kind="essay"), "question 1: kind is 'essay': it must be one of choice, yes_no, open, text"),
        (asks(answer="c"), "question 1: options is"),
        (asks(options=["b", "B"]), "question 1: options is"),
        (asks(options="ab"), "question 1: options is 'ab'"),
        (asks(kind="yes_no"), "question 1: answer is 'b': it must be yes or no"),
        (asks(kind="text"), "question 1: keywords is ()"),
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_fault(tmp_path: Path, row: object, said: str) -> None:
    file = saved(tmp_path, GOOD, row)
    with pytest.raises(BenchmarkError) as refused:
        read(file)
    sentence = str(refused.value)
    assert sentence.startswith(f"{file}, line 2: ") and said in sentence


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="line 2: id is 'a', as in .*, line 1: "):
        read(saved(tmp_path, GOOD, GOOD))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="line 2: this is not UTF-8"):
        read(saved(tmp_path, GOOD, GOOD | {"id": "b", "prompt": "café"}, encoding="latin-1"))


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"none\.jsonl cannot be read"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(BenchmarkError, match="has no row"):
        read(saved(tmp_path, ""))
