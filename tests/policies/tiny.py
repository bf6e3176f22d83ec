"""A small tiny policy with random weights, and things for it to read and learn."""

from __future__ import annotations

import numpy as np
import torch

from policies.interface import (
    Context,
    Example,
    Picture,
    Segment,
    learned,
)
from policies.sampling import Row
from policies.seeds import generator
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import BOS, IMAGE, SEP
from policies.tiny.vision import VisionConfig

torch.set_num_threads(1)
WORDS = "a the circle square red blue word in above not yes no judge c t , .".split()
VISION = VisionConfig(levels=(5, 4, 3), channels=(8, 16, 16), blocks=1)
PROMPTS = ("a red circle", "the blue square above a circle", "red", 'the word " c a t " in red')


def small(seed: int = 0, sharp: float = 5, **sizes: int) -> TinyPolicy:
    shape = {"hidden_size": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8}
    policy = TinyPolicy.create(WORDS, seed, VISION, **{**shape, "intermediate_size": 48, **sizes})
    # Random weights of deviation 0.02 say next to nothing: larger ones make every test sharper.
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(sharp)
    return policy


def picture(seed: int) -> Picture:
    pixels = generator("picture", seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    return Picture(pixels, generator("codes", seed).integers(0, 60, 36).astype(np.int32))


def examples() -> list[Example]:
    """Two of each pattern."""
    verdict = '{"analysis": "circle yes , red no", "score": 4}'
    made: list[tuple[Context, Segment, str]] = [
        (("a red circle",), picture(0), "generation"),
        (('the word " c a t " in red',), picture(1), "generation"),
        ((picture(0), "the word"), "a red circle", "caption"),
        ((picture(1), "the word"), "blue square above the square", "caption"),
        (("judge", "a red circle", picture(2)), verdict, "judgement"),
        (("judge", "blue", picture(3)), '{"score": 10}', "judgement"),
        (("a red circle", picture(2), verdict), picture(0), "reflection"),
        (("blue", picture(3), '{"score": 1}'), picture(1), "reflection"),
    ]
    return [Example(context, learned(target), pattern) for context, target, pattern in made]  # type: ignore[arg-type]


def rows(policy: TinyPolicy, guidance: float = 1.0, temperature: float = 0.8) -> list[Row]:
    made = []
    for i, prompt in enumerate(PROMPTS):
        context = (BOS, *policy.text.encode(prompt), SEP, IMAGE)
        free = (BOS, SEP, IMAGE)
        made += [Row(context, temperature, guidance, 10 * i + k, 36, free) for k in range(2)]
    return made


def forced(policy: TinyPolicy, context: tuple[int, ...], tokens: np.ndarray) -> torch.Tensor:
    """Logits of each token given the ones before it, by the training forward pass."""
    ids = torch.tensor([[*context, *tokens.tolist()]])
    with torch.no_grad():
        return policy.module(ids)[0, len(context) - 1 : -1]
