"""The same held-out prompts as several runs' bases and last versions draw them: a picture of what each route
to a unified model gained.

Invariant: prompts, seeds and settings are those of the runs' own measurements at the best setting of each
version; the prompts that are shown are the first of each category, whatever came of them.
`python -m benchmarks.routes docs/routes.png runs/routes/*-seed-0`
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.settings import Version
from cluster.recipes import recipe
from evaluation.kept import read_all
from policies.interface import Picture

SIDE, GAP, HEAD, MARGIN = 96, 8, 78, 110
RIGHT, WRONG = "#1e8449", "#c0392b"


class Shown(NamedTuple):
    picture: Picture
    right: bool


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="PNG")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[Shown]] = {}
    for run in options.runs:
        config, best = recipe.load_folder(run), read_all(run, "best")
        for number in (0, max(best)):
            version = Version(config, number, run)
            prompts = version.prompts[: len(version.suite.categories)]
            label = f"{run.name.removesuffix('-seed-0')}, {f'v{number}' if number else 'base'}"
            rows[label] = drawn(version, best[number]["best"], len(prompts))
            print(
                f"{label}: {sum(each.right for each in rows[label])} of {len(prompts)}", flush=True
            )
    sheet(prompts, rows).save(options.out)


def drawn(version: Version, setting: dict[str, float], count: int) -> list[Shown]:
    """The first `count` drawings of the measurement at that setting."""
    how = replace(
        version.fixed,
        temperature=setting["temperature"],
        guidance=setting["guidance"],
        steps=int(setting.get("steps", version.fixed.steps)),
    )
    first = version.prompts[: version.config.evaluation.prompts_per_task]
    _, texts, pictures = next(version.drawn(first, how, 0))
    return [Shown(picture, version.suite.verdict(picture.pixels, text).right)
            for text, picture in zip(texts[:count], pictures[:count], strict=True)]  # fmt: skip


def sheet(prompts: Sequence[str], rows: dict[str, list[Shown]]) -> Image.Image:
    """A row for each version, a column for each prompt; what is all right has a green frame."""
    step = SIDE + GAP
    whole = Image.new("RGB", (MARGIN + len(prompts) * step, HEAD + len(rows) * step), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(11)
    for column, prompt in enumerate(prompts):
        text = textwrap.fill(prompt, 17, max_lines=4)
        pen.multiline_text((MARGIN + column * step, GAP), text, "#222222", font)
    for row, (label, shown) in enumerate(rows.items()):
        y = HEAD + row * step
        pen.multiline_text((GAP, y + GAP), textwrap.fill(label, 16), "#222222", font)
        for column, each in enumerate(shown):
            x = MARGIN + column * step
            image = Image.fromarray(each.picture.pixels)
            whole.paste(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, y))
            frame = (x - 2, y - 2, x + SIDE + 1, y + SIDE + 1)
            pen.rectangle(frame, outline=RIGHT if each.right else WRONG, width=2)
    return whole


if __name__ == "__main__":
    main()
