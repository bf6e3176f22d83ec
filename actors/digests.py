"""The hash by which everybody knows a weight version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


class DigestMismatch(ValueError):
    """A version whose arrays or digest are not those it was published with."""


def digest(weights: Arrays) -> str:
    """sha256 over the sorted names, each with dtype, shape and bytes."""
    total = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name], order="C")
        total.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        total.update(array.reshape(-1).view(np.uint8).data)  # a view, never a copy
    return total.hexdigest()
