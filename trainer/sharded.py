"""Tensors that are sharded over the ranks, and plain ones, looked at alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """This rank's part of it, without gradient."""
    data = tensor.detach()
    return data.to_local() if isinstance(data, DTensor) else data


def whole(tensor: Tensor) -> Tensor:
    """All of it; all ranks call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def number(tensor: Tensor) -> float:
    return whole(tensor.detach()).item()


def array(tensor: Tensor) -> np.ndarray:
    """float32 of a whole one. A plain tensor may be the one that learns on: what is given away must
    not change with it, so this is a copy."""
    return tensor.to("cpu", torch.float32, copy=True).numpy()
