"""What the prompts of a round are about: their categories and, in each, the subcategories.

Invariant: topics follow from the shares alone, and those of the first n prompts, for every n, stand in
the shares as nearly as whole numbers can (Sainte-Lague's apportionment).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from actors.category_shares import CategoryShares

Kind = tuple[str, str]
"""A category and a subcategory of it."""


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
    subcategories: Mapping[str, tuple[str, ...]],
    shares: CategoryShares,
    count: int,
    weights: Mapping[Kind, float] = MappingProxyType({}),
) -> list[Topic]:
    """The first `count` topics of a round; `subcategories` by category. With equal shares the categories
    take turns, and so do the subcategories of one, unless `weights` (1 each by default) differ."""
    kinds = {
        name: {kind: weights.get((name, kind), 1.0) for kind in own}
        for name, own in subcategories.items()
    }
    wanted = {
        name: share_of(shares, name) * sum(own.values()) / len(own) for name, own in kinds.items()
    }
    categories, within = (
        dict.fromkeys(wanted, 0),
        {n: dict.fromkeys(own, 0) for n, own in kinds.items()},
    )
    found = []
    for number in range(count):
        category = _next(wanted, categories)
        found.append(Topic(number, category, _next(kinds[category], within[category])))
    return found


def _next(wanted: Mapping[str, float], given: dict[str, int]) -> str:
    """Whose turn it is, counted as given."""
    # max() keeps the first of equal ones, which makes equal shares turns.
    chosen = max(given, key=lambda name: wanted[name] / (2 * given[name] + 1))
    given[chosen] += 1
    return chosen


def share_of(shares: CategoryShares, category: str) -> float:
    return shares[field_of(category)]


def field_of(category: str) -> str:
    """The category's field in `proposer.category_shares`."""
    return category.replace(" ", "_")
