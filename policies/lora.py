"""Low-rank adapters (LoRA, arXiv 2106.09685) beside the projections of a family's layers.

Invariant: what replicas load is the base with the adapters added in, under the base's own names:
nobody who samples knows that only adapters learned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import torch

DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"


def adapt(module: torch.nn.Module, layers: str, rank: int, alpha: int) -> None:
    """Freezes `module` and lets adapters of `rank`, scaled by `alpha / rank`, learn beside the
    linear layers whose whole names match `layers`. They begin as nothing, the same in every
    process."""
    from peft import LoraConfig, inject_adapter_in_model

    module.requires_grad_(False)
    settings = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inject_adapter_in_model(settings, module)


def merge(
    base: dict[str, np.ndarray], adapters: Mapping[str, np.ndarray], scale: float
) -> dict[str, np.ndarray]:
    """`base` float32, by its own names and spent, with `scale * up @ down` added where there are
    adapters."""
    for name, down in adapters.items():
        if name.endswith(DOWN):
            layer = name.removesuffix(DOWN)
            base[f"{layer}.weight"] += scale * (adapters[layer + UP] @ down)
    return base


def per_rank(shapes: Iterable[tuple[str, torch.Size]], layers: str) -> int:
    """How many parameters adapters have for each rank, of weights with these names and shapes."""
    adapted = re.compile(rf"{layers}\.weight")
    return sum(sum(shape) for name, shape in shapes if adapted.fullmatch(name))


def require_whole(scale: float, family: str) -> None:
    """Raises RuntimeError where adapters of this scale learn (0: none do)."""
    if scale:
        raise RuntimeError(
            f"a {family} whose adapters learn neither samples nor is saved: load `published` "
            "weights into another one"
        )
