"""What was no number in a step, and the groups that it came from.

Invariant: all ranks tell the same, whichever of them saw it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from policies.interface import Example, Pattern

GROUPS_NAMED = 20
GRADIENT = "gradient"
"""Of a pattern whose losses are all numbers, and the gradient is not."""


class Fault(NamedTuple):
    """`what` is the kind of loss, or GRADIENT; `groups` are (round, group) of what was learned."""

    pattern: Pattern
    what: str
    groups: tuple[tuple[int, int], ...]


def fault(pattern: Pattern, what: str, examples: Iterable[Example]) -> Fault:
    groups = sorted({(example.key.round, example.key.group) for example in examples})
    return Fault(pattern, what, tuple(groups))


def finite(gradients: Iterable[Tensor]) -> bool:
    """Whether all of them are, in one look at their norms."""
    every = list(gradients)
    return not every or bool(torch.stack(torch._foreach_norm(every)).isfinite().all())


def everywhere(own: Sequence[Fault], world: int) -> list[Fault]:
    """The faults of all ranks, in their order; all call it together. Where a loss is no number, all
    ranks have no gradient for it, which says nothing of their own examples."""
    told: list[list[Fault]] = [list(own) for _ in range(world)]
    if world > 1:
        dist.all_gather_object(told, list(own))
    every = [each for faults in told for each in faults]
    return [each for each in every if each.what != GRADIENT] or every


def described(faults: Sequence[Fault]) -> str:
    """Faults of the same pattern and kind as one: "caption (text of round 1, groups 3, 5)"."""
    groups: dict[tuple[Pattern, str], set[tuple[int, int]]] = {}
    for each in faults:
        groups.setdefault((each.pattern, each.what), set()).update(each.groups)
    return "; ".join(
        f"{pattern} ({what} of {_groups(sorted(of))})" for (pattern, what), of in groups.items()
    )


def _groups(groups: Sequence[tuple[int, int]]) -> str:
    parts = []
    for round_ in dict.fromkeys(r for r, _ in groups):
        numbers = [str(group) for r, group in groups if r == round_]
        more = f" and {len(numbers) - GROUPS_NAMED} more" if len(numbers) > GROUPS_NAMED else ""
        names = ", ".join(numbers[:GROUPS_NAMED])
        parts.append(f"round {round_}, group{'s' if len(numbers) > 1 else ''} {names}{more}")
    return " and ".join(parts)
