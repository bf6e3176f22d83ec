"""A small file of prompts for each benchmark, in the benchmark's own form."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def json_lines(file: Path, rows: Sequence[Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return file


def geneval(folder: Path, prompts: Sequence[str]) -> Path:
    include = [{"class": "bench", "count": 1}]
    rows = [{"tag": "single_object", "include": include, "prompt": each} for each in prompts]
    return json_lines(folder / "metadata.jsonl", rows)


def compbench(folder: Path, prompts: Sequence[str]) -> Path:
    """Two categories; as upstream, files end without a line break."""
    dataset = folder / "dataset"
    dataset.mkdir()
    (dataset / "color_val.txt").write_text("\n".join(prompts[: len(prompts) // 2]))
    (dataset / "complex_val.txt").write_text("\n".join(prompts[len(prompts) // 2 :]))
    (dataset / "complex_val_spatial.txt").write_text("left out, as its name ends otherwise")
    return dataset


def srum(folder: Path, prompts: Sequence[str]) -> Path:
    rows = [
        {"Question": each, "Category": ("color", "3d spatial")[n % 2], "Question_id": 700 + n}
        for n, each in enumerate(prompts)
    ]
    (folder / "val_comp.json").write_text(json.dumps(rows))
    return folder / "val_comp.json"


def dpg(folder: Path, prompts: Sequence[str]) -> Path:
    (folder / "prompts").mkdir()
    for n, each in enumerate(prompts):
        (folder / "prompts" / f"partiprompts{n}.txt").write_text(f"{each}\n")
    return folder / "prompts"


def wise(folder: Path, prompts: Sequence[str]) -> Path:
    """As a folder of the first release, with what is not to be read beside it."""
    rows = [{"Prompt": each, "prompt_id": n} for n, each in enumerate(prompts, 1)]
    half = len(rows) // 2
    for name, part in (("cultural_common_sense", rows[:half]), ("natural_science", rows[half:])):
        json_lines(folder / "data" / f"{name}.json", [part])
        json_lines(folder / "data" / f"{name}_rewrite.json", [part])
    return folder / "data"


def oneig(folder: Path, prompts: Sequence[str]) -> Path:
    kinds = ("Anime_Stylization", "Portrait")
    with (folder / "OneIG-Bench.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("category", "id", "prompt_en", "type", "prompt_length", "class"))
        for n, each in enumerate(prompts):
            table.writerow((kinds[n % 2], f"{n // 2:03d}", each, "T, P", "short", ""))
    return folder / "OneIG-Bench.csv"


def tiif(folder: Path, prompts: Sequence[str]) -> Path:
    """Two types; every two prompts are one row."""
    pairs = list(zip(prompts[::2], prompts[1::2], strict=True))
    for kind, part in (("shape+color", pairs[::2]), ("text", pairs[1::2])):
        rows = [
            {"type": kind, "short_description": short, "long_description": long}
            for short, long in part
        ]
        json_lines(folder / "testmini_prompts" / f"{kind}_prompts.jsonl", rows)
    return folder / "testmini_prompts"


FILES: dict[str, Callable[[Path, Sequence[str]], Path]] = {
    "geneval": geneval,
    "compbench": compbench,
    "compbench-srum": srum,
    "dpg": dpg,
    "wise": wise,
    "oneig": oneig,
    "tiif": tiif,
}
