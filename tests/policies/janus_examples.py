"""Things for a tiny Janus to read and learn."""

from __future__ import annotations

import numpy as np

from policies.interface import Example, Picture, learned
from policies.seeds import generator

PROMPTS = ("a red circle", "two blue squares above a very long description of a circle", "", "ö→猫")
VERDICT = '{"analysis": "the circle is red", "score": 9}'


def picture(seed: int, side: int = 32) -> Picture:
    chance = generator("picture", seed)
    pixels = chance.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Picture(pixels, chance.integers(0, 64, 16).astype(np.int32))


def examples() -> dict[str, list[Example]]:
    """Two of each pattern, of differing length."""
    return {
        "generation": [
            Example((p,), learned(picture(i)), "generation") for i, p in enumerate(PROMPTS[:2])
        ],
        "caption": [
            Example((picture(2), "Describe this."), learned("a red circle"), "caption"),
            Example((picture(3), "What is it?"), learned("two squares"), "caption"),
        ],
        "judgement": [
            Example(("Judge", "a red circle", picture(4)), learned(VERDICT), "judgement"),
            Example(("Judge", "blue", picture(5)), learned('{"score": 1}'), "judgement"),
        ],
        "reflection": [
            Example(("a red circle", picture(6), VERDICT), learned(picture(7)), "reflection"),
            Example(("blue", picture(8), '{"score": 1}'), learned(picture(9)), "reflection"),
        ],
    }
