"""What the prompts of a round are about: their categories and, in each, the subcategories.

Invariant: topics follow from the shares alone, and those of the first n prompts, for every n, stand in
the shares as nearly as whole numbers can (Sainte-Lague's apportionment).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from actors.config import CategoryShares


class Topic(NamedTuple):
    """What a prompt is asked for. `number` counts the topics of a round. A persona, demonstrations of
    its own and `external`, which names where they come from, are of an outside file."""

    number: int
    category: str
    subcategory: str
    persona: str = ""
    demonstrations: tuple[str, ...] = ()
    external: str = ""


def topics(
    subcategories: Mapping[str, tuple[str, ...]], shares: CategoryShares, count: int
) -> list[Topic]:
    """The first `count` topics of a round; `subcategories` by category, which they go through in
    turn. With equal shares the categories take turns too."""
    given = dict.fromkeys(subcategories, 0)
    found = []
    for number in range(count):
        # max() keeps the first of equal ones, which makes equal shares turns.
        category = max(given, key=lambda name: share_of(shares, name) / (2 * given[name] + 1))
        kinds = subcategories[category]
        found.append(Topic(number, category, kinds[given[category] % len(kinds)]))
        given[category] += 1
    return found


def share_of(shares: CategoryShares, category: str) -> float:
    return shares[field_of(category)]


def field_of(category: str) -> str:
    """The category's field in `proposer.category_shares`."""
    return category.replace(" ", "_")
