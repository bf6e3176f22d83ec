"""T2I-CompBench by its own scorers (Karine-Huang/T2I-CompBench).

Layout: a folder for each category, which is what a scorer is given, with `samples/PROMPT_NUMBER.png`, ten
pictures of each prompt, numbered through in six digits (GORS_finetune/inference_eval.py). Scorers take the
prompt from the file's name, up to the first underscore, and list everything that is in `samples`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.rows import Row, text_lines
from evaluation.layouts.files import DATA, SOURCES, inside, name_problem
from evaluation.layouts.sheet import Drawn, Sheet
from policies.errors import describe

PICTURES = 10
ENDING = "_val.txt"
SHIPPED = tuple(
    (DATA if name == "non_spatial" else SOURCES) / f"{name}{ENDING}"
    for name in (
        "color", "shape", "texture", "spatial", "3d_spatial", "numeracy", "non_spatial", "complex",
    )
)  # fmt: skip

BLIP = "(cd BLIPvqa_eval && python BLIP_vqa.py --out_dir={})"
CLIP = "(cd CLIPScore_eval && python CLIP_similarity.py --outpath={})"
UNIDET = "(cd UniDet_eval && python {0}_eval.py --outpath={{}})"
TOGETHER = (
    "(cd UniDet_eval && python 2D_spatial_eval.py --complex=True --outpath={})",
    "(cd CLIPScore_eval && python CLIP_similarity.py --complex=True --outpath={})",
    "(cd 3_in_1_eval && python 3_in_1.py --outpath={})",
)
SCORERS = {
    "spatial": (UNIDET.format("2D_spatial"),),
    "3d_spatial": (UNIDET.format("3D_spatial"),),
    "numeracy": (UNIDET.format("numeracy"),),
    "non_spatial": (CLIP,),
    "complex": (BLIP, *TOGETHER),
}
"""By category; attributes, which are all others, are asked about by BLIP."""


class CompBench:
    def files(self, prompts: Path | None) -> tuple[Path, ...]:
        if prompts is None:
            return SHIPPED
        return inside(
            prompts, f"*{ENDING}", "the folder examples/dataset of a checkout, or one file"
        )

    def sheets(self, files: Sequence[Path], model: str) -> list[Sheet]:
        return [
            _sheet(_category(file), place, row)
            for file in files
            for place, row in enumerate(text_lines(file))
        ]

    def scorer(self, drawn: Drawn) -> list[str]:
        return [
            line.format(quote(f"{drawn.images / category}/"))
            for category in map(_category, drawn.prompts)
            for line in SCORERS.get(category, (BLIP,))
        ]


def _category(file: Path) -> str:
    return file.name.removesuffix(ENDING).removesuffix(".txt")


def _sheet(category: str, place: int, row: Row) -> Sheet:
    prompt = row.text("prompt").split("\t")[0]  # as the official script reads a line
    numbers = range(PICTURES * place, PICTURES * (place + 1))
    names = tuple(f"{prompt}_{number:06d}.png" for number in numbers)
    problem = name_problem(names[-1])
    if "_" in prompt:
        problem = "it has an underscore, at which the scorers end it"
    if problem:
        raise BenchmarkError(
            f"{row.where}: the prompt {describe(prompt)} cannot be in the name of its pictures, where the "
            f"scorers look for it: {problem}; change that line, or leave it out"
        )
    return Sheet(prompt, tuple(f"{category}/samples/{name}" for name in names))


LAYOUTS = {"compbench": CompBench()}
