"""The final judge: which facts of a prompt are true of a drawing.

Invariant: a verdict depends on the pixels and the prompt alone, and there is one for each fact, in
the order of the prompt.
"""

from __future__ import annotations

import numpy as np

from policies.tiny.world.blobs import Sight
from policies.tiny.world.motif_reading import READERS
from policies.tiny.world.objects_reading import read_objects
from policies.tiny.world.scene import SIDE, Prompt


def read_facts(pixels: np.ndarray, prompt: Prompt) -> list[bool]:
    """Returns a verdict for each fact. Raises ValueError unless `pixels` are [48, 48, 3]."""
    if pixels.shape != (SIDE, SIDE, 3):
        raise ValueError(f"a drawing has shape ({SIDE}, {SIDE}, 3), not {pixels.shape}")
    holds = READERS.get(prompt.subcategory, read_objects)(Sight(pixels), prompt)
    # A fact whose subject was not found is false.
    return [bool(holds.get(fact, False)) for fact in prompt.facts]


def all_right(pixels: np.ndarray, prompt: Prompt) -> bool:
    return all(read_facts(pixels, prompt))


def soft(pixels: np.ndarray, prompt: Prompt) -> float:
    """Returns the share of the facts that hold, 0 to 1."""
    verdicts = read_facts(pixels, prompt)
    return sum(verdicts) / len(verdicts)


def score(pixels: np.ndarray, prompt: Prompt) -> float:
    """Returns 10 if every fact holds, otherwise less than 6: no wrong drawing passes."""
    share = soft(pixels, prompt)
    return 10.0 if share == 1.0 else 6.0 * share
