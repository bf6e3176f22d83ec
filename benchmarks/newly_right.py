"""Pictures of prompts that a run's base drew wrong at every inference setting and its last version draws right.

Invariant: prompts, seeds, slices and settings are those of the run's own measurements, and every prompt that
qualifies is counted; those that are shown are the first of each category in turn.
`python -m benchmarks.newly_right runs/tiny docs/newly-right.png` takes three minutes of one core.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.settings import Version
from cluster.recipes import recipe
from evaluation.kept import read_all
from evaluation.selection import best, inference_settings
from policies.interface import Picture, PictureSampling

ZOOM, GAP, TEXT, ACROSS = 2, 12, 64, 4


class Drawn(NamedTuple):
    """A version's drawings of the measured prompts at one setting, and which are all right."""

    pictures: list[Picture]
    right: list[bool]


class Shown(NamedTuple):
    prompt: str
    base: Picture
    """At the base's best setting."""
    last: Picture


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("out", type=Path, metavar="PNG")
    parser.add_argument("--show", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = recipe.load_folder(options.run)
    settings = inference_settings(config)
    base = Version(config, 0, options.run)
    last = Version(config, max(read_all(options.run)), options.run)
    before = [drawn(base, how) for how in settings]
    now = drawn(last, settings[chosen(last, settings)])
    never = [not any(right) for right in zip(*(each.right for each in before), strict=True)]
    found = [i for i, right in enumerate(now.right) if right and never[i]]
    print(f"{sum(never)} of {len(never)} prompts were wrong at all {len(settings)} settings of the base; "
          f"version {last.number} draws {len(found)} of these right, at its best setting")  # fmt: skip
    greedy = before[chosen(base, settings)].pictures
    shown = [Shown(base.prompts[i], greedy[i], now.pictures[i]) for i in spread(base, found)]
    sheet(shown[: options.show]).save(options.out)


def drawn(version: Version, how: PictureSampling) -> Drawn:
    pictures, right = [], []
    for _, texts, slice_ in version.drawn(version.prompts, how, 0):
        pictures += slice_
        right += [version.suite.verdict(each.pixels, text).right
                  for each, text in zip(slice_, texts, strict=True)]  # fmt: skip
    print(f"v{version.number} at {how.temperature:g}, {how.guidance:g}: {sum(right)}", flush=True)
    return Drawn(pictures, right)


def chosen(version: Version, settings: Sequence[PictureSampling]) -> int:
    """The number of the setting that is best on the prompts that do not measure."""
    return best([version.selection(how) for how in settings])


def spread(version: Version, found: Sequence[int]) -> list[int]:
    """The numbers of `found`, one of each category after another."""
    asked = version.suite.prompts(len(version.prompts), version.config.evaluation.seed)
    by_category: dict[str, list[int]] = {}
    for i in found:
        by_category.setdefault(asked[i][1], []).append(i)
    turns = zip_longest(*by_category.values())
    return [i for i in chain.from_iterable(turns) if i is not None]


def sheet(shown: Sequence[Shown]) -> Image.Image:
    """Cells of a prompt over the base's drawing and the last version's."""
    side = ZOOM * shown[0].base.pixels.shape[0]
    cell = (2 * side + 3 * GAP, side + TEXT + 2 * GAP)
    rows = -(-len(shown) // ACROSS)
    whole = Image.new("RGB", (ACROSS * cell[0], rows * cell[1]), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for i, each in enumerate(shown):
        x, y = (i % ACROSS) * cell[0] + GAP, (i // ACROSS) * cell[1] + GAP
        text = textwrap.fill(each.prompt, 34, max_lines=3)
        pen.multiline_text((x, y), text, "#222222", font)
        for place, picture in enumerate((each.base, each.last)):
            image = Image.fromarray(picture.pixels).resize((side, side), Image.Resampling.NEAREST)
            at = (x + place * (side + GAP), y + TEXT)
            whole.paste(image, at)
            pen.rectangle((at[0] - 1, at[1] - 1, at[0] + side, at[1] + side),
                          outline="#c0392b" if place == 0 else "#1e8449")  # fmt: skip
    return whole


if __name__ == "__main__":
    main()
