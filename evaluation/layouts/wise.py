"""WISE (PKU-YuanGroup/WISE): the first release, the verified one, or BAGEL's merged file.

Layout, as gpt_eval.py and vllm_eval.py read it: a flat folder with one PNG a prompt, named by its prompt_id.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from evaluation.benchmarks.rows import Row, json_list, require_new
from evaluation.layouts.files import inside, require_given
from evaluation.layouts.sheet import Drawn, Sheet

WHAT = "a folder of WISE's JSON files (WISE_legacy/data or data_verified), or one of them"
NOT_READ = ("_rewrite.json", "merge.json")
"""Of such a folder: other wordings of the same prompts, and all of them once more."""
PARTS = ("cultural_common_sense", "spatio-temporal_reasoning", "natural_science")


class Wise:
    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        return inside(require_given(prompts, "WISE", WHAT), "*.json", WHAT, NOT_READ)

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        seen: dict[int, str] = {}
        return [_sheet(row, seen) for file in files for row in json_list(file)]

    def scorer(self, drawn: Drawn) -> list[str]:
        if any("verified" in part for file in drawn.prompts for part in file.parts[-2:]):
            return [f"IMAGE_DIR={quote(str(drawn.images))} bash eval_qwen.sh"]
        results = drawn.images.parent / "wise"
        scores = [f"{results / part}_scores.jsonl" for part in PARTS]
        judge = "--model gpt-4o-2024-05-13 --api_key $OPENAI_API_KEY"
        return [
            *(
                f"python WISE_legacy/gpt_eval.py --json_path WISE_legacy/data/{part}.json --image_dir {quote(str(drawn.images))} "
                f"--output_dir {quote(str(results))} --result_full {quote(f'{results / part}_full.json')} "
                f"--result_scores {quote(score)} {judge}"
                for part, score in zip(PARTS, scores, strict=True)
            ),
            f"python WISE_legacy/Calculate.py {' '.join(map(quote, scores))} --category all",
        ]


def _sheet(row: Row, seen: dict[int, str]) -> Sheet:
    number = row.number("prompt_id")
    require_new(seen, number, row, "prompt_id")
    return Sheet(row.text("Prompt"), (f"{number}.png",))


LAYOUTS = {"wise": Wise()}
