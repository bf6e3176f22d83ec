"""What came of the prompts of earlier rounds: what was asked already, what failed, and what is hard.

Invariant: it follows from the closed rounds of the log alone, so it is the same after a restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from actors.replay.records import UNTRUSTED, Proposal
from actors.replay.segments import read_texts, round_files
from actors.roles.topics import Kind
from actors.storage.paths import StoragePath
from policies.seeds import generator

FLOOR = 0.1
"""The least that a subcategory counts, however easy or hopeless it is, so that none is forgotten."""


class Experience(NamedTuple):
    """`said` are prompts that count as asked already, `failed` those that were rejected when they were
    drawn last, in the order in which that was. `accepted` are the shares of the last round's
    drawings that the Judge accepted, by subcategory."""

    said: tuple[str, ...] = ()
    failed: tuple[Proposal, ...] = ()
    accepted: Mapping[Kind, float] = {}

    def again(self, count: int, *key: int | str) -> list[Proposal]:
        """`count` failed prompts, or all, by key."""
        order = generator(*key).permutation(len(self.failed))
        return [self.failed[place] for place in sorted(order[:count])]

    def weights(self, rollouts: int) -> dict[Kind, float]:
        """How much each subcategory counts: (1 - a)(1 - (1 - a)^n) for an accepted share a of n rollouts,
        which is the part that fails where the prompt can have a winner, and FLOOR at least."""
        failed = {kind: 1.0 - share for kind, share in self.accepted.items()}
        return {kind: max(FLOOR, part * (1.0 - part**rollouts)) for kind, part in failed.items()}


def experience(log: StoragePath, round_: int, memory: int, accept_at: float) -> Experience:
    """Before round `round_`; what was said is that of the last `memory` rounds."""
    said: list[str] = []
    failed: dict[str, Proposal] = {}
    scored, accepted = Counter[Kind](), Counter[Kind]()
    for earlier in range(1, round_):
        for path in round_files(log, earlier):
            for row in read_texts(path).to_pylist():
                if earlier >= round_ - memory:
                    said.append(row["prompt"])
                failed.pop(row["prompt"], None)
                if row["reason"] and not row["reason"].startswith(UNTRUSTED):
                    failed[row["prompt"]] = _proposal(row)
                if earlier == round_ - 1:
                    scores = [r["score"] for r in row["rollouts"] if r["score"] is not None]
                    kind = row["category"], row["subcategory"]
                    scored[kind] += len(scores)
                    accepted[kind] += sum(score >= accept_at for score in scores)
    shares = {kind: accepted[kind] / count for kind, count in scored.items() if count}
    return Experience(tuple(said), tuple(failed.values()), shares)


def _proposal(row: Mapping[str, Any]) -> Proposal:
    return Proposal(
        row["index"], row["category"], row["subcategory"], row["prompt"], row["prompt_seed"],
        row["external"],
    )  # fmt: skip


def without(said: Sequence[str], again: Sequence[Proposal]) -> list[str]:
    """What was said but for the prompts that are asked again."""
    asked = {proposal.prompt for proposal in again}
    return [text for text in said if text not in asked]
