"""The scenes of the tiny world that models are taught from, and all of its words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from policies.seeds import generator
from policies.tiny import lessons
from policies.tiny.world.language import CATEGORIES, WORDS

INSTRUCTIONS = ("propose", "like", "rate", "judge", "describe", "answer", ",", ".")
# The scenes' kinds, in this cycle.
KINDS = ("spoilt", "clean", "clean", "clean", "clean", "clean", "spoilt", "wordless", "clean",
         "clean", "clean", "clean")  # fmt: skip


def vocabulary() -> list[str]:
    """Returns every word that the world, its questions and the roles' instructions use."""
    kinds = [*CATEGORIES, *(kind for kinds in CATEGORIES.values() for kind in kinds)]
    category_words = (word for text in kinds for word in text.split())
    return sorted({*WORDS, *INSTRUCTIONS, *category_words})


def render_scenes(seed: int, count: int) -> list[lessons.Scene]:
    """Returns `count` scenes of this worker, still without codes."""
    rng = generator(seed, "scenes", dist.get_rank())
    return [lessons.scene(rng, KINDS[i % len(KINDS)]) for i in range(count)]


def pixels_of(pictures: Sequence[np.ndarray]) -> Tensor:
    """float32 [pictures, 3, height, width] from -1 to 1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
