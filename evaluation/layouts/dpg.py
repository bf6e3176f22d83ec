"""DPG-Bench (TencentQQGYLab/ELLA).

Layout, as dpg_bench/compute_dpg_bench.py reads it: one file a prompt, called as the prompt's file, with four
pictures in a grid of two by two; the folder has nothing else in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from evaluation.benchmarks.rows import Row, json_lines, read_text, require_new
from evaluation.layouts.files import DATA, inside, name_problem
from evaluation.layouts.sheet import Drawn, Sheet

SHIPPED = DATA / "dpg.jsonl"
GRID = (2, 2)


class Dpg:
    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        if prompts is None:
            return (SHIPPED,)
        return inside(prompts, "*.txt", "the folder dpg_bench/prompts of a checkout, or a JSONL file "
                                        "with stem and prompt")  # fmt: skip

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        seen: dict[str, str] = {}
        return [_sheet(row, seen) for file in files for row in _rows(file)]

    def scorer(self, drawn: Drawn) -> list[str]:
        return [f"bash dpg_bench/dist_eval.sh {quote(str(drawn.images))} {drawn.side}"]


def _rows(file: Path) -> list[Row]:
    if file.suffix == ".txt":
        return [Row(str(file), {"stem": file.stem, "prompt": read_text(file).strip()})]
    return json_lines(file)


def _sheet(row: Row, seen: dict[str, str]) -> Sheet:
    stem = row.text("stem")
    if "." in stem or (problem := name_problem(f"{stem}.png")):
        rule = (
            "have no dot, at which the scorer ends it" if "." in stem else f"name a file: {problem}"
        )
        row.refuse("stem", stem, rule)
    require_new(seen, stem, row, "stem")
    return Sheet(row.text("prompt"), (f"{stem}.png",), GRID)


LAYOUTS = {"dpg": Dpg()}
