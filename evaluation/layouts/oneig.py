"""OneIG-Bench in English (OneIG-Bench/OneIG-Benchmark).

Layout, as text2image.py writes it and scripts/*/*_score.py read it: CLASS/MODEL/ID.webp, four pictures in a
grid of two by two. A tile that is black all over is one that failed, and is left out; so files are written
without loss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from evaluation.benchmarks.rows import Row, require_new, table
from evaluation.layouts.files import require_given
from evaluation.layouts.sheet import Drawn, Sheet

GRID = (2, 2)
CLASSES = {
    "Anime_Stylization": "anime",
    "Portrait": "human",
    "General_Object": "object",
    "Text_Rendering": "text",
    "Knowledge_Reasoning": "reasoning",
}
"""The folder of each category."""
METRICS = {
    "alignment": ("", "anime human object"),
    "diversity": ("", "anime human object text reasoning"),
    "text": ("/text", ""),
    "style": ("/anime", ""),
    "reasoning": ("/reasoning", ""),
}
"""Which folder each metric is given, and which classes it is told."""


class OneIg:
    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        return (require_given(prompts, "OneIG-Bench", "its OneIG-Bench.csv"),)

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        seen: dict[tuple[str, str], str] = {}
        return [_sheet(row, model, seen) for file in files for row in table(file)]

    def scorer(self, drawn: Drawn) -> list[str]:
        """Without the run_*.sh, which give --image_grid no value."""
        grid = ",".join(map(str, GRID))
        return [
            f"python -m scripts.{metric}.{metric}_score --mode EN "
            f"--image_dirname {quote(f'{drawn.images}{folder}')} --model_names {quote(drawn.model)} "
            f"--image_grid {grid}" + (f" --class_items {classes}" if classes else "")
            for metric, (folder, classes) in METRICS.items()
        ]


def _sheet(row: Row, model: str, seen: dict[tuple[str, str], str]) -> Sheet:
    category, number = row.one_of("category", tuple(CLASSES)), row.text("id")
    if not re.fullmatch("[0-9]{3}", number):
        row.refuse("id", number, "be three digits: the scorers look for files that begin with it")
    require_new(seen, (category, number), row, "category with id")
    return Sheet(row.text("prompt_en"), (f"{CLASSES[category]}/{model}/{number}.webp",), GRID)


LAYOUTS = {"oneig": OneIg()}
