"""GenEval, with its own prompts or their long rewrites (BAGEL's evaluation/geneval).

Layout, as evaluation/evaluate_images.py of djghosh13/geneval reads it: a folder of digits for each prompt
with `metadata.jsonl`, the prompt's own line, and `samples/` with four pictures that are named by digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from evaluation.benchmarks.rows import Row, json_lines
from evaluation.layouts.files import DATA, SOURCES
from evaluation.layouts.sheet import Drawn, Sheet

PICTURES = 4


@dataclass(frozen=True)
class GenEval:
    shipped: Path

    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        return (prompts or self.shipped,)

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        rows = [row for file in files for row in json_lines(file)]
        return [_sheet(place, row) for place, row in enumerate(rows)]

    def scorer(self, drawn: Drawn) -> list[str]:
        results = drawn.images.parent / "geneval.jsonl"
        return [
            f"python evaluation/evaluate_images.py {quote(str(drawn.images))} "
            f"--outfile {quote(str(results))} --model-path OBJECT_DETECTOR_FOLDER",
            f"python evaluation/summary_scores.py {quote(str(results))}",
        ]


def _sheet(place: int, row: Row) -> Sheet:
    """The scorer reads `tag`, `include` and `prompt` of every row."""
    row.text("tag")
    row.nested_list("include")
    folder = f"{place:05d}"
    files = tuple(f"{folder}/samples/{number:04d}.png" for number in range(PICTURES))
    return Sheet(row.text("prompt"), files, record=(f"{folder}/metadata.jsonl", row.raw))


LAYOUTS = {
    "geneval": GenEval(SOURCES / "geneval.jsonl"),
    "geneval-long": GenEval(DATA / "geneval_long.jsonl"),
}
