"""Makes random generators from keys that name the work, never from global state.

Invariant: the same key gives the same numbers in any process, on any machine.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive(*key: int | str) -> int:
    """Returns a 63-bit seed for `key`, such as (seed, round, role, index, rollout)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """Returns a Philox generator that is seeded by `derive(*key)`."""
    return np.random.Generator(np.random.Philox(derive(*key)))
