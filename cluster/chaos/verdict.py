"""Compares a run that was disturbed with the same run undisturbed.

Invariant: everything that a run leaves for others is compared byte by byte: the replay log, the
final weights, and the training journal, whose steps say what was learned and how often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.replay.segments import log_digest
from actors.storage import events
from actors.weights.version_folder import VersionFolder
from cluster.chaos.storm import Kill, Outcome
from evaluation.metrics import read_rows
from trainer.config import RunConfig
from trainer.journal import JOURNAL


@dataclass(frozen=True)
class Remains:
    """What a finished run left: two hashes, and its training steps without their times."""

    log: str
    weights: str
    steps: list[dict[str, Any]]


@dataclass(frozen=True)
class Comparison:
    peace: Remains
    chaos: Remains
    calm: Outcome
    outcome: Outcome

    @property
    def same(self) -> bool:
        return self.peace == self.chaos


def compare(config: RunConfig, calm: Outcome, outcome: Outcome) -> Comparison:
    """Compares two finished runs. Raises SegmentError or VersionDamaged for damaged files."""
    return Comparison(remains(config, calm.folder), remains(config, outcome.folder), calm, outcome)


def remains(config: RunConfig, folder: Path) -> Remains:
    _, weights = VersionFolder(folder, config.policy).read(config.rounds)
    rows = read_rows(folder / JOURNAL)
    steps = [{name: row[name] for name in row if name != "seconds"} for row in rows]
    return Remains(log_digest(folder / "replay"), weights, steps)


def table(verdict: Comparison) -> Iterator[str]:
    """Yields lines of text: each kill and when it was replaced, then what is the same."""
    log = events.read(verdict.outcome.folder)
    began = min(event["at"] for event in log)
    yield f"{'killed':<22}{'process':>9}{'at s':>8}{'back after s':>14}"
    for kill in verdict.outcome.kills:
        back = _back(kill, log)
        waited = "not needed again" if back is None else f"{back:.1f}"
        yield (f"{_name(kill):<22}{kill.victim.pid:>9}{kill.at - began:>8.1f}{waited:>14}")
    peace, chaos = verdict.peace, verdict.chaos
    steps = f"{len(chaos.steps)} steps"
    yield ""
    yield _compared("replay log", peace.log[:16], chaos.log[:16], peace.log == chaos.log)
    yield _compared(
        "final weights", peace.weights[:16], chaos.weights[:16], peace.weights == chaos.weights
    )
    yield _compared(
        "what was learned", f"{len(peace.steps)} steps", steps, peace.steps == chaos.steps
    )
    yield (
        f"{'time':<18}{verdict.calm.seconds:.0f} s in peace, {verdict.outcome.seconds:.0f} s in "
        f"chaos, started {verdict.outcome.starts} times"
    )
    yield "SAME: nothing was lost, nothing was done twice" if verdict.same else "DIFFERENT"


def _compared(what: str, peace: str, chaos: str, same: bool) -> str:
    return f"{what:<18}{peace} in peace, {chaos} in chaos: {'same' if same else 'DIFFERENT'}"


def _name(kill: Kill) -> str:
    return (
        kill.kind
        if kill.kind in ("Ray head", "driver")
        else (kill.victim.who + " (stopped)" * kill.kind.endswith("hangs"))
    )


def _back(kill: Kill, log: list[dict[str, Any]]) -> float | None:
    """Returns the seconds until an actor with the victim's name started again; None if none did."""
    later = (e["at"] for e in log if e["who"] == kill.victim.who and e["what"] == events.STARTED)
    return min((at - kill.at for at in later if at > kill.at), default=None)
