"""Low-rank adapters (LoRA, arXiv 2106.09685) on the layers that read and write.

Invariant: what replicas load is the base with the adapters added in, under the base's own names:
nobody who samples knows that only adapters learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from policies.config import ConfigError
from policies.janus.module import JanusModule

LAYERS = r"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"


def adapt(module: JanusModule, rank: int, alpha: int) -> None:
    """Freezes `module` and lets adapters of `rank`, scaled by `alpha / rank`, learn beside the
    projections of its Llama. They begin as nothing, the same in every process. Raises ConfigError
    where peft is not installed."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError(
            f"trainer.lora_rank is {rank}, which needs peft: pip install 'unicorn-ray[lora]', or "
            "set it to 0 to learn all weights"
        ) from error
    module.requires_grad_(False)
    settings = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=LAYERS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inject_adapter_in_model(settings, module)


def merged(
    base: Mapping[str, np.ndarray], adapters: Mapping[str, np.ndarray], scale: float
) -> dict[str, np.ndarray]:
    """`base` float32, by its own names, with `scale * up @ down` added where there are adapters."""
    whole = dict(base)
    for name, down in adapters.items():
        if name.endswith(DOWN):
            layer = name.removesuffix(DOWN)
            whole[f"{layer}.weight"] = base[f"{layer}.weight"] + scale * (
                adapters[layer + UP] @ down
            )
    return whole
