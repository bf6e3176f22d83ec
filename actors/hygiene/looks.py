"""What a drawing looks like, in 106 bits, and which winners of a round look alike.

Invariant: the hash follows from the pixels; which winners repeat an earlier one follows from the
hashes in the log, in the order of the log. So whoever reads the same log finds the same repeats, without
a look at a picture.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from actors.replay.records import JudgedGroup

BITS = 64 + 42
"""Of the perceptual hash, which sees light and dark alone, and of the one of colours."""


def looks(pixels: np.ndarray) -> str:
    """The hash, in hexadecimal digits."""
    import imagehash
    from PIL import Image

    image = Image.fromarray(pixels)
    hashes = (imagehash.phash(image), imagehash.colorhash(image, binbits=3))
    bits = np.concatenate([each.hash.ravel() for each in hashes])
    return np.packbits(bits).tobytes().hex()


def winning_looks(group: JudgedGroup, seed: int, ties: Literal["first", "random"]) -> str:
    """What the winner of an accepted group looks like; empty without a winner or a hash."""
    return group.rollouts[group.winner(seed, ties)].looks if group.accepted else ""


class Repeats:
    """The winners of one round that do not look like an earlier one. Two look alike that differ in at
    most `bits` bits; with None no two do."""

    def __init__(self, bits: int | None) -> None:
        self._bits = bits
        self._kept = np.zeros((0, -(-BITS // 8)), np.uint8)

    def repeats(self, look: str) -> bool:
        """Whether a winner repeats an earlier one. To be asked once of each, in the order of the log."""
        if self._bits is None or not look:
            return False
        row = np.frombuffer(bytes.fromhex(look), np.uint8)[None]
        if (np.bitwise_count(self._kept ^ row).sum(axis=1) <= self._bits).any():
            return True
        self._kept = np.concatenate([self._kept, row])
        return False
