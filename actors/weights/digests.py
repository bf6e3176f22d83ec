"""The hash by which everybody knows a weight version.

It guards against accidents, such as a write in place or a damaged file, and not against somebody
who looks for other weights with the same hash: so it is one that runs at the speed of memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xxhash

Arrays = Mapping[str, np.ndarray]


class DigestMismatch(ValueError):
    """A version whose arrays or digest are not those it was published with."""


def weights_digest(weights: Arrays) -> str:
    """xxh3_128 over the sorted names, each with dtype, shape and bytes."""
    total = xxhash.xxh3_128()
    for name in sorted(weights):
        array = np.asarray(weights[name], order="C")
        total.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        total.update(array.reshape(-1).view(np.uint8).data)  # a view, never a copy
    return total.hexdigest()
