"""A real OCR on real letters: what it reads, and what stands in the evaluation beside the judge."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from cluster import evaluate_task
from evaluation.judges.ocr import Ocr, ocr_summary
from evaluation.tasks.bench import TaskBench
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.folder import TaskFolder
from evaluation.unicycle.instances import Instance, Question, written
from policies.config import ConfigError
from policies.interface import Picture
from tests.evaluation.rules import Settings

INSTALLED = pytest.mark.skipif(
    find_spec("rapidocr_onnxruntime") is None,
    reason="rapidocr-onnxruntime is not installed",
)


@pytest.fixture(scope="module")
def ocr() -> Ocr:
    return Ocr()


def drawn(*lines: str, side: int = 384, letters: int = 36) -> np.ndarray:
    """Dark letters on a light ground."""
    image = Image.new("RGB", (side, side), (240, 235, 220))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(letters)
    for number, line in enumerate(lines):
        pen.text((side // 16, side // 8 + 2 * letters * number), line, (30, 30, 60), font=font)
    return np.asarray(image)


def noise(side: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)


@INSTALLED
@pytest.mark.parametrize(
    "lines",
    [("Bright ideas", "light the way"), ("shiny blue car", "drove past", "dusty brown"), ("OPEN",)],
)
def test_it_reads_words_in_their_order(ocr: Ocr, lines: tuple[str, ...]) -> None:
    assert ocr.read(drawn(*lines)) == " ".join(lines)


@INSTALLED
def test_the_spaces_between_small_words_are_read_too(ocr: Ocr) -> None:
    assert ocr.read(drawn("soft warm glow", side=256, letters=20)) == "soft warm glow"


@INSTALLED
def test_it_reads_nothing_where_there_is_no_word(ocr: Ocr) -> None:
    assert [ocr.read(pixels) for pixels in (noise(), drawn())] == ["", ""]


SAID = {
    "right": ("Bright ideas light the way", drawn("Bright ideas", "light the way")),
    "half": ("soft warm glow candlelight", drawn("soft glow")),
    "noise": ("go now", noise()),
    "nothing": ("go now", np.zeros((64, 64, 3), np.uint8)),
}
"""What is to be read in a drawing, and the drawing; the last one failed."""


def instance(name: str, words: str) -> Instance:
    asked = Question("text", "What text is written?", words, keywords=tuple(words.split()))
    return Instance(name, "text", f'a sign that says "{words}"', (asked,))


COLOR = Instance("color", "color", "a red bird", (Question("open", "What color?", "red"),))
INSTANCES = [*(instance(name, words) for name, (words, _) in SAID.items()), COLOR]


def evaluated(path: Path, ocr: Ocr | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The summary and the samples of drawings that are there, whose text the model read as "go"."""
    folder = TaskFolder(path)
    for each in INSTANCES:
        _, pixels = SAID.get(each.id, ("", noise()))
        folder.keep_drawing(each.id, Picture(pixels))
        folder.keep_answers(each.id, ["go"] if pixels.any() else None)
    nobody: Any = None  # nothing is left to draw or to ask
    bench = TaskBench(
        TaskConfig(), Settings("run", ""), folder, nobody, nobody, None, lambda _: None, ocr=ocr
    )
    found = asyncio.run(bench.run(INSTANCES))
    lines = (path / "by-rules" / "samples.jsonl").read_text().splitlines()
    return found, [json.loads(line) for line in lines]


@INSTALLED
def test_what_it_read_stands_beside_the_judge_and_changes_no_score(
    ocr: Ocr, tmp_path: Path
) -> None:
    found, samples = evaluated(tmp_path / "with", ocr)
    read = {row["id"]: row["questions"][0].get("ocr") for row in samples}
    assert read == {
        "right": {"read": "Bright ideas light the way", "mark": 1},
        "half": {"read": "soft glow", "mark": 0.5},
        "noise": {"read": "", "mark": 0},
        "nothing": {"read": None, "mark": 0},
        "color": None,
    }
    own = found.pop("ocr")
    assert (own["questions"], own["score"], own["no_drawing"]) == (4, 37.5, 1)
    assert 0 <= own["low"] < 37.5 < own["high"] <= 100
    assert own["version"].startswith("rapidocr-onnxruntime 1.")
    assert found["question_kinds"]["text"]["score"] == 12.5
    assert (tmp_path / "with/by-rules/summary.json").read_text().count('"ocr"') == 1
    without, plain = evaluated(tmp_path / "without", None)
    assert without == found
    assert not any("ocr" in question for row in plain for question in row["questions"])


@INSTALLED
def test_a_drawing_is_read_once(ocr: Ocr, tmp_path: Path) -> None:
    first = evaluated(tmp_path / "a", ocr)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "judge-cache").rglob("*.json")}
    assert len(files) == 3
    assert evaluated(tmp_path / "a", ocr) == first
    assert {file: file.stat().st_mtime_ns for file in files} == files


def test_without_text_questions_there_is_no_score() -> None:
    assert ocr_summary("an OCR", [COLOR], {}) == {"version": "an OCR", "questions": 0}


def test_the_extra_is_named_before_anything_is_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)  # an import of it fails
    checkpoint, file = tmp_path / "weights", tmp_path / "own.jsonl"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"")
    file.write_text(written(INSTANCES))
    (tmp_path / "mine.yaml").write_text(f"instances: {file}\nocr: true\n")
    with pytest.raises(ConfigError) as refused:
        evaluate_task.ready(
            str(tmp_path / "mine.yaml"), checkpoint, [], None, str(tmp_path / "out")
        )
    sentence = str(refused.value)
    assert sentence.startswith("task.ocr is true") and "'unicorn-ray[ocr]'" in sentence
    assert "\n" not in sentence and not (tmp_path / "out").exists()
