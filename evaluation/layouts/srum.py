"""T2I-CompBench as SRUM scores it with a multimodal model (WayneJin0918/SRUM), and by all that is known
UniCorn: its paper's figures of the base are SRUM's.

Layout, as CompBench_eval/qwen_eval.sh and qwen_eval.py read it: a folder CATEGORY_50_think for each category
with one picture a prompt, named by its number, and `output.jsonl`, which has each picture's prompt. The
folder is called so however the pictures were drawn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from evaluation.benchmarks.rows import Row, json_list, require_new
from evaluation.layouts.files import DATA, folder_name
from evaluation.layouts.sheet import Drawn, Sheet

SHIPPED = DATA / "val_comp.json"
ENDING = "_50_think"


class Srum:
    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        return (prompts or SHIPPED,)

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        seen: dict[tuple[str, int], str] = {}
        return [_sheet(row, seen) for file in files for row in json_list(file)]

    def scorer(self, drawn: Drawn) -> list[str]:
        base, found = quote(str(drawn.images)), quote(str(drawn.images.parent / "srum"))
        set_in_script = "s|^{}=.*|{}={}|"
        edits = " ".join(
            f"-e {quote(set_in_script.format(name, name, value))}"
            for name, value in (
                ("BASE_RESULTS_DIR", base),
                ("OUTPUT_DIR", found),
                ("MODEL_ID", "JUDGE_MODEL"),
                ("PYTHON_SCRIPT", "CompBench_eval/qwen_eval.py"),
            )
        )
        return [f"sed {edits} CompBench_eval/qwen_eval.sh | bash"]


def _sheet(row: Row, seen: dict[tuple[str, int], str]) -> Sheet:
    prompt, number = row.text("Question"), row.number("Question_id")
    category = folder_name(row, "Category").replace(" ", "_")
    require_new(seen, (category, number), row, "Category with Question_id")
    folder, file = f"{category}{ENDING}", f"{number}.png"
    line = {"prompt_id": number, "image_file": file, "original_prompt": prompt}
    record = (f"{folder}/output.jsonl", json.dumps(line, ensure_ascii=False))
    return Sheet(prompt, (f"{folder}/{file}",), record=record)


LAYOUTS = {"compbench-srum": Srum()}
