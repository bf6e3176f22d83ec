"""What a round costs follows from counted tokens, the journal and the winners."""

from __future__ import annotations

import pytest

from evaluation.cost import of_learning, of_roles, per_winner
from evaluation.metrics import of_rounds

JOURNAL = [
    {"step": 1, "round": 1, "passed": 100, "referenced": 40},
    {"step": 2, "round": 1, "passed": 50, "referenced": 0},
    {"step": 3, "round": 2, "passed": 7},
    {"step": 4, "round": 3},
]


def test_a_role_takes_two_operations_for_each_parameter_and_token() -> None:
    assert of_roles({"solver": 10, "judge": 0}, active=1000) == {
        "cost/solver_tokens": 10.0, "cost/solver_flops": 20_000.0,
        "cost/judge_tokens": 0.0, "cost/judge_flops": 0.0,
    }  # fmt: skip


def test_learning_takes_three_passes_and_the_reference_one() -> None:
    assert of_learning(JOURNAL, 1, 1000, adapters=False) == {
        "cost/trainer_tokens": 190.0, "cost/trainer_flops": 1000.0 * (6 * 150 + 2 * 40),
    }  # fmt: skip
    adapted = of_learning(JOURNAL, 1, 1000, adapters=True)
    assert adapted["cost/trainer_flops"] == 1000.0 * (4 * 150 + 2 * 40)


def test_rounds_are_apart_and_a_journal_without_counts_costs_nothing_known() -> None:
    assert of_learning(JOURNAL, 2, 1000, adapters=False)["cost/trainer_tokens"] == 7
    assert of_learning(JOURNAL, 3, 1000, adapters=False)["cost/trainer_flops"] == 0


def sampled(round_: int) -> dict[str, object]:
    flops = {"proposer": 0.0, "solver": 6e12, "judge": 2e12}
    return {"kind": "cost", "round": round_} | {f"cost/{k}_flops": v for k, v in flops.items()}


def learned(round_: int) -> dict[str, object]:
    return {"kind": "learning", "round": round_, "cost/trainer_flops": 4e12}


def audited(round_: int, **found: float) -> dict[str, object]:
    return {"kind": "round", "round": round_, **{f"audit/{k}": v for k, v in found.items()}}


def test_what_a_right_winner_costs_is_shared_out_by_role() -> None:
    ((_, row),) = of_rounds([sampled(1), audited(1, winners=8.0, right_winners=4.0), learned(1)])
    each = {name: row[f"cost/{name}_per_winner"] for name in ("solver", "judge", "trainer", "all")}
    assert each == {"solver": 1.5, "judge": 0.5, "trainer": 1.0, "all": 3.0}


@pytest.mark.parametrize(
    ("found", "cost"),
    [({"winners": 2.0}, 6.0), ({"winners": 2.0, "right_winners": 0.0}, None), ({}, None)],
)
def test_without_an_oracle_accepted_winners_count(
    found: dict[str, float], cost: float | None
) -> None:
    ((_, row),) = of_rounds([sampled(1), audited(1, **found), learned(1)])
    assert row.get("cost/all_per_winner") == cost


def test_what_is_not_counted_whole_is_not_said() -> None:
    right = audited(1, right_winners=4.0)
    ((_, row),) = of_rounds([sampled(1), right])
    assert per_winner(row) == {}
    again = {"kind": "cost", "round": 1, **of_roles({"solver": 10, "judge": 3}, active=None)}
    ((_, row),) = of_rounds([again, right, learned(1)])
    assert row["cost/solver_tokens"] == 10 and per_winner(row) == {}
