"""The tool of the toy: it paints the tiny world, as `python:policies.tools.toy:draw`.

Invariant: an honest painter. It shows what it is told, every fact of it by a clear margin, and all that is
left open follows from the seed. What a model has to learn is to say what was asked for.
"""

from __future__ import annotations

import numpy as np

from policies.seeds import generator
from policies.tiny.world.language import parse
from policies.tiny.world.render import render, sample_scene
from policies.tiny.world.scene import SIDE


def draw(prompt: str, seed: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels uint8 [48, 48, 3]. Raises ValueError for another size, and for a prompt that is not of the tiny
    world's language: in a sentence that names the word."""
    if size not in (None, (SIDE, SIDE)):
        raise ValueError(f"the tiny world has {SIDE} x {SIDE} pixels, and {size} were asked for")
    return render(sample_scene(parse(prompt), generator("toy", seed)))
