"""Compares a step of eight guided BAGEL drawings in one call with one call for each branch of each.

Invariant: one process, one thread, the same random weights and contexts for both; interleaved
repeats, timed in processor seconds, so that a busy machine slows all of them alike.

`python -m benchmarks.bagel_draw [--sizes tiny 100M]`
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.timing import measure
from policies.bagel.config import AutoencoderConfig, BagelConfig
from policies.bagel.module import BagelModule
from policies.bagel.samples import Format, Latents, Sample, Text
from policies.flowing.config import LanguageConfig, VisionConfig
from policies.flowing.drawing import Contexts, Drawings

DRAWINGS, BRANCHES, MARKS = 8, 3, 2
BATCHED, APART, PRODUCTS = "all in one call", "one by one", "matrix products alone"


@dataclass(frozen=True)
class Size:
    """The shape of a model, and of a drawing's `side` * `side` tokens."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    words: int
    side: int
    repeats: int


SIZES = {
    "tiny": Size(64, 96, 2, 4, 2, 160, 4, 20),
    "100M": Size(640, 1728, 8, 10, 2, 8192, 8, 3),
}


def build(size: Size) -> BagelModule:
    width = size.hidden // size.heads
    shape = (size.layers, size.heads, size.kv_heads, width, 1e-6, 1e6, 4096)
    config = BagelConfig(
        LanguageConfig(size.words, size.hidden, size.inner, *shape),
        VisionConfig(48, 80, 2, 3, 14, 16, 1e-6),
        AutoencoderConfig(32, (32, 32, 32, 32), 1, 4),
        latent_patch=2,
        latent_side=16,
        timestep_shift=1.0,
    )
    torch.manual_seed(0)
    return BagelModule(config).requires_grad_(False)


def contexts(size: Size, values: int) -> list[Sample]:
    """Of every drawing the whole, that without text and that without pictures."""
    made: list[Sample] = []
    for i in range(DRAWINGS):
        text = Text(list(range(20 + i)))  # of lengths that differ, so that a batch is padded
        losing = Latents(torch.randn(size.side**2, values), (size.side, size.side))
        made += [[losing, text], [losing], [text]]
    return made


def jobs(size: Size) -> dict[str, Callable[[], object]]:
    model = build(size)
    form = Format.of(model.config, 1, 2, 3, 4)
    read = Contexts(model, form, contexts(size, form.latent_values))
    of = torch.arange(DRAWINGS * BRANCHES).view(DRAWINGS, BRANCHES).T
    grids = [(size.side, size.side)] * DRAWINGS
    x, t = torch.randn(DRAWINGS, size.side**2, form.latent_values), torch.full((DRAWINGS,), 0.7)
    row = torch.arange(DRAWINGS).repeat(BRANCHES)
    branch = torch.arange(BRANCHES).repeat_interleave(DRAWINGS)
    pairs = [(r[None], b[None]) for r, b in zip(row, branch)]
    together = Drawings(model, form, read, of, grids)
    # Each keeps its cache from step to step, as the reference's script does.
    apart = [Drawings(model, form, read, of, grids) for _ in pairs]
    return {
        BATCHED: lambda: together(x, t, row, branch),
        APART: lambda: [draw(x, t, *pair) for draw, pair in zip(apart, pairs)],
        PRODUCTS: lambda: products(model, size.side**2),
    }


def products(model: BagelModule, tokens: int) -> None:
    """The products of a step with the layers' weights, and nothing else: what bounds it."""
    rows = DRAWINGS * BRANCHES
    for name, weight in model.language_model.model.layers.named_parameters():
        if weight.ndim == 2:
            given = rows * (tokens if "_moe_gen" in name else MARKS)
            F.linear(torch.ones(given, weight.shape[1]), weight)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    torch.set_num_threads(1)
    for name in parser.parse_args().sizes:
        with torch.inference_mode():
            found = measure(jobs(SIZES[name]), SIZES[name].repeats)
        print(f"\n{name}: a step of {DRAWINGS} drawings with {BRANCHES} branches each")
        for job, seconds in found.items():
            print(f"  {job:22} {1000 * seconds:9.1f} ms  {found[BATCHED] / seconds:5.2f}")


if __name__ == "__main__":
    main()
