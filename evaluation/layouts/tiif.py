"""TIIF-Bench (A113N-W3I/TIIF-Bench).

Layout, as eval/eval_with_vlm.py reads it: TYPE/MODEL/short_description/NUMBER.png and the same with
long_description, where NUMBER is the row of the type's file from 0 on, empty lines left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.rows import json_lines
from evaluation.layouts.files import folder_name, inside, require_given
from evaluation.layouts.sheet import Drawn, Sheet
from policies.errors import describe

ENDING = "_prompts.jsonl"
WHAT = "a folder of *_prompts.jsonl, such as data/testmini_prompts of a checkout, or one of them"
DESCRIPTIONS = ("short_description", "long_description")


class Tiif:
    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        given = require_given(prompts, "TIIF-Bench", WHAT)
        return inside(given, f"*{ENDING}", WHAT, (f"_eval{ENDING}",))

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        kinds: dict[str, Path] = {}
        return [sheet for file in files for sheet in _of_type(file, model, kinds)]

    def scorer(self, drawn: Drawn) -> list[str]:
        split = drawn.prompts[0].parent.name.removesuffix("_prompts")
        results = drawn.images.parent / "tiif"
        found = [
            quote(str(results / f"result_summary{end}")) for end in (".xlsx", "_dimension.txt")
        ]
        return [
            f"python eval/eval_with_vlm.py --jsonl_dir data/{split}_eval_prompts "
            f"--image_dir {quote(str(drawn.images))} --eval_model {quote(drawn.model)} "
            f"--output_dir {quote(str(results))} --api_key $OPENAI_API_KEY --base_url JUDGE_ADDRESS "
            "--model JUDGE_MODEL",
            f"python eval/summary_results.py --input_dir {quote(str(results))}",
            f"python eval/summary_dimension_results.py --input_excel {found[0]} --output_txt {found[1]}",
        ]


def _of_type(file: Path, model: str, kinds: dict[str, Path]) -> Iterator[Sheet]:
    rows = json_lines(file)
    kind = folder_name(rows[0], "type")
    if kind in kinds:
        raise BenchmarkError(
            f"{file}: type is {describe(kind)}, as in {kinds[kind]}: their pictures would share a folder; "
            "give one file of each type"
        )
    kinds[kind] = file
    for number, row in enumerate(rows):
        if row.text("type") != kind:
            row.refuse("type", row.fields["type"], f"be {kind!r}, as in the rows before")
        for description in DESCRIPTIONS:
            file_name = f"{kind}/{model}/{description}/{number}.png"
            yield Sheet(row.text(description), (file_name,))


LAYOUTS = {"tiif": Tiif()}
