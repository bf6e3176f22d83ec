"""Tensors that are sharded over the ranks, and plain ones, looked at alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's part of it, without gradient."""
    data = tensor.detach()
    return data.to_local() if isinstance(data, DTensor) else data


def fill(own: Tensor, whole: Tensor) -> None:
    """Writes this rank's part of a plain tensor that all ranks have."""
    data = whole.to(own.device, own.dtype)
    if isinstance(own, DTensor):
        spread = distribute_tensor(data, own.device_mesh, own.placements, src_data_rank=None)
        data = local(spread)
    local(own).copy_(data)


@torch.no_grad()
def begin_with(state: Mapping[str, Mapping[str, Any]], weights: Mapping[str, Tensor]) -> None:
    """Makes the state of a learner, in place, that of one which begins with these whole weights: all
    its weights are they, and its optimizer has no moments."""
    for kind, named in state.items():
        for name, own in named.items():
            if kind == "optimizer":
                for moment in own.values():
                    local(moment).zero_()
            else:
                fill(own, weights[name])


def whole(tensor: Tensor) -> Tensor:
    """All of it; all ranks call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def number(tensor: Tensor) -> float:
    return whole(tensor.detach()).item()


def array(tensor: Tensor) -> np.ndarray:
    """float32 of a whole one. A plain tensor may be the one that learns on: what is given away must
    not change with it, so this is a copy."""
    return tensor.to("cpu", torch.float32, copy=True).numpy()
