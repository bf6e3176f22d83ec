"""What a round's work costs in floating-point operations, and what a good sample costs.

Invariant: a multiply and an add for each active parameter and token that passes forward, and twice as
many where it passes back. What is counted as tokens, and what is not, says docs/rounds.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

FORWARD, LEARNED, ADAPTED = 2, 6, 4
"""Operations for each parameter and token: forward, forward and back, and the same where frozen
weights get no gradient of their own."""
ROLES = ("proposer", "solver", "judge")
TRAINER = "trainer"
TERA = 1e12


def of_roles(tokens: Mapping[str, int], active: int | None) -> dict[str, float]:
    """The row of a round's sampling: by role the `tokens` that passed forward, and the operations, but
    where these are not all tokens of the round (`active` is None)."""
    counted = {f"cost/{role}_tokens": float(count) for role, count in tokens.items()}
    if active is None:
        return counted
    flops = {f"cost/{role}_flops": float(FORWARD * active * n) for role, n in tokens.items()}
    return counted | flops


def of_learning(
    journal: Iterable[Mapping[str, Any]], round_: int, active: int, adapters: bool
) -> dict[str, float]:
    """The row of a round's learning, from the rows of the training journal."""
    steps = [row for row in journal if row["round"] == round_]
    passed = sum(row.get("passed", 0) for row in steps)
    referenced = sum(row.get("referenced", 0) for row in steps)
    flops = active * ((ADAPTED if adapters else LEARNED) * passed + FORWARD * referenced)
    return {
        f"cost/{TRAINER}_tokens": float(passed + referenced),
        f"cost/{TRAINER}_flops": float(flops),
    }


def _of_round(row: Mapping[str, Any]) -> tuple[dict[str, float], float] | None:
    """Its teraFLOPs by role, and its winners, the truly right ones where an oracle tells; None where a part
    is not known."""
    winners = row.get("audit/right_winners", row.get("audit/winners"))
    flops = [row.get(f"cost/{who}_flops") for who in (*ROLES, TRAINER)]
    if winners is None or None in flops:
        return None
    return {who: row[f"cost/{who}_flops"] / TERA for who in (*ROLES, TRAINER)}, winners


def per_winner(row: Mapping[str, Any]) -> dict[str, float]:
    """How many teraFLOPs each role and the trainer took for every winner that is truly right ("cost/
    all_per_winner" together), or where no oracle tells that, for every one that was accepted; empty
    where there is no winner, or a part of the cost is not known."""
    spent, winners = _of_round(row) or ({}, 0.0)
    if not winners:
        return {}
    each = {who: flops / winners for who, flops in spent.items()}
    named = {f"cost/{who}_per_winner": value for who, value in each.items()}
    return {**named, "cost/all_per_winner": sum(each.values())}


def of_run(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Of the rows of a run's rounds how many teraFLOPs sampling ("proposer", "solver", "judge") and
    learning ("trainer") took, and how many "winners" are truly right, or else accepted; empty where a
    part is not known of a round."""
    total = dict.fromkeys((*ROLES, TRAINER, "winners"), 0.0)
    for row in rows:
        if (found := _of_round(row)) is None:
            return {}
        for who, spent in found[0].items():
            total[who] += spent
        total["winners"] += found[1]
    return total if total["winners"] else {}
