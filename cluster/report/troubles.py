"""What was lost in a run and replaced, as its report tells it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from actors.storage import events
from actors.storage.paths import StoragePath

GIVEN_UP_SHOWN = 12


@dataclass(frozen=True)
class Troubles:
    """How often what happened to whom, most often first; and why tasks were given up."""

    counts: list[tuple[str, int]]
    given_up: list[str]


def troubles(folder: StoragePath) -> Troubles:
    counts, known = Counter[str](), set[str]()
    given_up = []
    for event in events.read(folder):
        who, what = event["who"], event["what"]
        kind = who.rstrip("0123456789 ")
        if what == events.STARTED:
            counts[f"{kind} started again"] += who in known
            known.add(who)
        elif what == "gave up a task":
            given_up.append(event["why"])
        elif what in ("died", "silent", "failed", events.SKIPPED):
            counts[f"{kind} {what}"] += 1
    return Troubles((+counts).most_common(), given_up[-GIVEN_UP_SHOWN:])
