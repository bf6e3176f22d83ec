"""Hashes a weight version; the digest identifies it everywhere.

The hash guards against accidents, such as a write in place or a damaged file, not against an
attacker who looks for a collision; so it is one that runs at the speed of memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xxhash

Arrays = Mapping[str, np.ndarray]


class DigestMismatch(ValueError):
    """A version's arrays or digest are not those that it was published with."""


def weights_digest(weights: Arrays) -> str:
    """Returns xxh3_128 in hex over the sorted names, each with its dtype, shape and bytes."""
    total = xxhash.xxh3_128()
    for name in sorted(weights):
        array = np.asarray(weights[name], order="C")
        total.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        total.update(array.reshape(-1).view(np.uint8).data)  # a view, as a copy may be large
    return total.hexdigest()
