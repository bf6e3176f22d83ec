"""The Show-o of tests/golden/showo_tiny: weights by a formula, and what the public code made of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from policies.seeds import generator
from policies.showo.checkpoint import Loaded
from policies.showo.config import MagvitSizes
from policies.showo.magvit import Magvit
from policies.showo.module import ShowoModule
from policies.showo.policy import ShowoPolicy
from policies.showo.tokens import parse
from tests.policies.showo import CONFIG, small_files

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "showo_tiny"
MAGVIT = MagvitSizes(stem=32, encoder=((32, 2), (64, 1)), decoder=((32, 1), (64, 2)), bits=6)
"""Its levels differ in width and in depth, as the public ones do."""
PROMPTS = ("a red circle", "two  cats")
CAPTIONS = (" a red circle", " blue")
QUESTION = "What is it?"
STEPS, GUIDANCE, SEEDS = 5, 2.5, (3, 4)
PADDED = 24
"""The places that the public code gives a prompt."""


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Uniform numbers by the name: of a deviation that keeps what passes through about as large."""
    uniform = generator("showo golden", name).random(shape, dtype=np.float32) - np.float32(0.5)
    if len(shape) == 1:
        return torch.from_numpy(uniform * np.float32(0.5) + np.float32(name.endswith("weight")))
    fan = 1.0 if "embed_tokens" in name else float(np.prod(shape[1:]))
    return torch.from_numpy(uniform * np.float32((12 / fan) ** 0.5))


def weights(of: torch.nn.Module) -> Mapping[str, torch.Tensor]:
    return {name: weight(name, tuple(w.shape)) for name, w in of.named_parameters()}


def codes() -> np.ndarray:
    """Of two pictures, int32 [2, tokens]."""
    drawn = generator("showo golden", "codes").integers(0, CONFIG.codes, (2, CONFIG.tokens))
    return drawn.astype(np.int32)


def pixels() -> torch.Tensor:
    """A picture float32 [1, 3, 16, 16] in -1..1."""
    return torch.from_numpy(
        generator("showo golden", "pixels").random((1, 3, 16, 16)) * 2 - 1
    ).float()


def chance(row: int) -> tuple[float, np.ndarray]:
    """The time and the order by which a picture's tokens are hidden."""
    random = generator("showo golden", "hidden", row)
    return float(random.random(dtype=np.float32)), random.random(CONFIG.tokens, dtype=np.float32)


@cache
def policy() -> ShowoPolicy:
    module, magvit = ShowoModule(CONFIG).eval(), Magvit(CONFIG.magvit).eval()
    module.load_state_dict(weights(module))
    files = small_files(CONFIG)
    return ShowoPolicy(Loaded(module, magvit, parse(GOLDEN, files["tokenizer.json"]), files))


@cache
def magvit() -> Magvit:
    made = Magvit(MAGVIT).eval()
    made.load_state_dict(weights(made))
    return made


@cache
def tensors() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "io.safetensors")
