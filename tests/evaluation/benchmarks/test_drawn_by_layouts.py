"""What a layout draws is what the benchmark asks about: the same files of prompts, through both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.benchmarks import registry as benchmarks
from evaluation.benchmarks.compbench import BASE, COMPLEX
from evaluation.benchmarks.tiif import KINDS
from evaluation.benchmarks.wise import FILES
from evaluation.layouts import registry as layouts
from evaluation.layouts.folder import PictureFolder, encoded
from evaluation.layouts.sheet import Sheet
from policies.pictures import read
from tests.evaluation.layouts.prompt_files import json_lines

Prompts = tuple[Path, Path, dict[str, str]]
"""The file or folder that is drawn, the data that are asked about, and each question's prompt by its id."""


def tiif(folder: Path) -> Prompts:
    prompts = {}
    for kind in KINDS:
        rows: list[dict[str, Any]] = []
        for index in range(2):
            texts = {each: f"{kind}, {each}, {index}" for each in ("short", "long")}
            rows.append({f"{each}_description": text for each, text in texts.items()})
            prompts |= {f"testmini-{kind}-{k}-{index:03d}": text for k, text in texts.items()}
        asked = {"yn_question_list": ["Is it?"], "yn_answer_list": ["yes"]}
        for name, more in (("prompts", {}), ("eval_prompts", asked)):
            file = folder / f"data/testmini_{name}/{kind}_{name}.jsonl"
            json_lines(file, [{"type": kind, **row, **more} for row in rows])
    return folder / "data/testmini_prompts", folder, prompts


def wise(folder: Path, edition: str = "legacy", suffix: str = "") -> Prompts:
    numbers = range(1, 1001)
    rows = [{"Prompt": f"scene {n}", "Explanation": "so", "prompt_id": n} for n in numbers]
    for place, name in enumerate(FILES):
        json_lines(folder / f"data/{name}{suffix}.json", [rows[place :: len(FILES)]])
    prompts = {f"{edition}-{n:04d}": f"scene {n}" for n in numbers}
    return folder / "data", folder / "data", prompts


def wise_verified(folder: Path) -> Prompts:
    return wise(folder, "verified", "_verified")


def srum(folder: Path) -> Prompts:
    rows = [
        {"Question": f"{category}, {n}", "Category": category, "Question_id": 10 * place + n}
        for place, category in enumerate((*BASE, *COMPLEX))
        for n in range(3)
    ]
    file = folder / "val_comp.json"
    file.write_text(json.dumps(rows))
    return file, file, {f"{row['Category']}-{row['Question_id']}": row["Question"] for row in rows}


def draw(sheets: list[Sheet], to: PictureFolder) -> None:
    """Pictures whose first pixel says which sheet they are of."""
    for number, sheet in enumerate(sheets):
        pixels = np.full((2, 2, 3), (1 + number // 256, number % 256, 0), np.uint8)
        for file in sheet.files:
            to.keep(file, encoded([pixels] * sheet.tiles, sheet.grid, Path(file).suffix))
        if sheet.record:
            to.keep_record(sheet.record[0], [sheet.record[1]])
    to.finish()


@pytest.mark.parametrize(
    ("layout", "benchmark", "write"),
    [
        ("tiif", "tiif", tiif),
        ("wise", "wise", wise),
        ("wise", "wise", wise_verified),
        ("compbench-srum", "compbench", srum),
    ],
)
def test_each_drawing_is_asked_about_once(
    tmp_path: Path, layout: str, benchmark: str, write: Callable[[Path], Prompts]
) -> None:
    given, data, prompts = write(tmp_path)
    drawer, asker = layouts.load(layout), benchmarks.load(benchmark)
    sheets = drawer.sheets(drawer.files(given), "ours")
    folder = PictureFolder(tmp_path / "drawn")
    draw(sheets, folder)
    found = {}
    for question in asker.questions(data, folder.images):
        (file,) = (part for part in question.parts if isinstance(part, Path))
        red, green, _ = map(int, read(file).pixels[0, 0])
        assert question.id not in found
        found[question.id] = sheets[256 * (red - 1) + green].prompt
    assert found == prompts and len(sheets) == len(prompts)
    assert asker.score(data, folder.images, {}).counted["no_drawing"] == 0
