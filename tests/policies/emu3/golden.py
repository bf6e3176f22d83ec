"""What the released code computed, with weights that follow from their names (tests/golden/emu3_tiny)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from policies.seeds import generator

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "emu3_tiny"


def described() -> dict[str, Any]:
    """The released configurations by part ("text", "vision"), and the names and shapes of all their
    tensors in the released code."""
    return json.loads((FOLDER / "names.json").read_text())


def tensors() -> dict[str, torch.Tensor]:
    """What went in and came out, by name."""
    return load_file(FOLDER / "io.safetensors")


def weights(part: str) -> dict[str, torch.Tensor]:
    """By the released names."""
    return {name: weight(name, shape) for name, shape in described()[part]["tensors"].items()}


def weight(name: str, shape: list[int]) -> torch.Tensor:
    """Like a trained one's size: matrices keep the size of what they read, scales and variances are
    about 1."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    drawn = generator("emu3 golden", name).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        near = {"quantize.embedding.weight": 0.15, "model.embed_tokens.weight": 1.0}
        scale = near.get(name, 1.5 / np.sqrt(np.prod(shape[1:])))
        return torch.from_numpy(drawn * np.float32(scale))
    about = 1.0 if name.endswith(("weight", "running_var")) else 0.0
    return torch.from_numpy(np.abs(about + np.float32(0.1) * drawn) if about else drawn / 10)
