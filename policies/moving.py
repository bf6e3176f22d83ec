"""Moves what samples or is frozen between devices and dtypes.

Invariant: only weights change their dtype. Buffers keep theirs: in bfloat16 the angles of rotary
embeddings would turn far tokens by a radian.
"""

from __future__ import annotations

import torch
from torch import nn


def moved(part: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Without a dtype, weights keep theirs."""
    # Not the part's own `to`: that of diffusers' models warns of what it then does.
    nn.Module.to(part, device)
    for weight in part.parameters() if dtype is not None else ():
        weight.data = weight.data.to(dtype)
