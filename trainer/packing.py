"""A pattern's examples as packs of so many tokens, which the ranks share out evenly.

Invariant: every rank makes the same packs from the same lengths and takes as many as the others. A
pack holds no more tokens than it may, unless it is one example that alone is longer.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count

from policies.interface import Example
from trainer.batches import Share


def packed_shares(
    examples: Sequence[Example], lengths: Sequence[int], rank: int, world: int, most: int
) -> tuple[Share, ...]:
    """Rank `rank`'s part of one pattern's examples (at least one) among `world` ranks, at most
    `most` tokens in a share. Every rank has as many shares, and the shares that the ranks pass
    forward at the same time are of about the same length."""
    shortest = min(range(len(examples)), key=lengths.__getitem__)
    return tuple(
        Share(tuple(examples[i] for i in sorted(pack)), 1.0)
        if pack
        else Share((examples[shortest],), 0.0)
        for pack in packs(lengths, world, most)[rank::world]
    )


def packs(lengths: Sequence[int], world: int, most: int) -> list[list[int]]:
    """The places of all lengths, in as few times `world` packs as are found, longest pack first;
    some may be empty."""
    for turns in count(max(1, -(-sum(lengths) // (most * world)))):
        found = _spread(lengths, turns * world)
        if all(len(pack) <= 1 or _sum(lengths, pack) <= most for pack in found):
            return sorted(found, key=lambda pack: -_sum(lengths, pack))
    raise AssertionError("as many packs as lengths always fit")


def _spread(lengths: Sequence[int], number: int) -> list[list[int]]:
    """The longest first, each into the pack that is emptiest by then."""
    found: list[list[int]] = [[] for _ in range(number)]
    fill = [(0, i) for i in range(number)]
    for place in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        load, emptiest = fill[0]
        found[emptiest].append(place)
        heapq.heapreplace(fill, (load + lengths[place], emptiest))
    return found


def _sum(lengths: Sequence[int], pack: Sequence[int]) -> int:
    return sum(lengths[i] for i in pack)
