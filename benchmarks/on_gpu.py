"""What a GPU gives: goldens, drawings and training steps at real sizes, each against its roofline.

Invariant: weights are random and nothing is read from a hub; there is no Ray and no vLLM. It needs
torch, transformers, safetensors, pydantic, peft and pytest. The rooflines are of this very card: the products and the copies that it is measured to
do. One line per figure on stdout, the same as JSON in `--out`; a section that fails says so and the
others go on.

    python -m benchmarks.on_gpu [--out on_gpu.json] [--minutes 8] [--sections ...] [--small]
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import traceback
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.gpu.figures import measured_card

SECTIONS = ("goldens", "bagel", "janus", "training")
"""Modules of benchmarks.gpu, imported one by one: where one lacks a package the others go on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("on_gpu.json"))
    parser.add_argument("--minutes", type=float, default=8.0, help="no figure begins after these")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--small", action="store_true", help="small sizes, which a CPU can do")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    card = measured_card(options.small)
    print(card.described(), flush=True)
    found = []
    for name in options.sections:
        try:
            section = import_module(f"benchmarks.gpu.{name}")
            for figure in section.figures(card, options.small):
                print(figure.line(), flush=True)
                found.append(figure.row())
                options.out.write_text(json.dumps({"card": card.row(), "figures": found}, indent=1))
                if time.monotonic() > ends:
                    raise TimeoutError(f"{options.minutes:g} minutes are over")
        except Exception:  # a card that lacks memory for one size still has figures of the others
            print(f"{name}: {traceback.format_exc(limit=4)}", flush=True)
        if time.monotonic() > ends:
            break
        gc.collect()  # modules that are computed again refer to themselves
        if card.device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
