"""Exports the replay buffer's metrics to Prometheus.

Invariant: a group is counted when it is stored for the first time, however often it is offered. The
lag is what training has not read; until training reads, that is the whole log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.metrics import catalog
from actors.metrics.meter import Meter
from actors.replay.records import JudgedGroup, reason_kind


class Holds(Protocol):
    """The part of the log that the meter needs."""

    def held(self, round_: int = 0, start: int = 0) -> tuple[int, int]:
        """Returns the groups and the bytes from a slice on."""
        ...


class ReplayMeter:
    def __init__(self, run: str) -> None:
        self._meter = Meter(run)
        self._read = (0, 0)

    def stored(self, groups: Sequence[JudgedGroup]) -> None:
        for group in groups:
            reason = reason_kind(group.reason) or "accepted"
            self._meter.add(catalog.GROUPS, category=group.category, reason=reason)
            for rollout in group.rollouts:
                if rollout.unfit:
                    self._meter.add(catalog.FILTERED, filter=rollout.unfit.filter)
                if rollout.judgement.score is not None:
                    self._meter.observe(
                        catalog.JUDGE_SCORE, rollout.judgement.score, category=group.category
                    )

    def read(self, round_: int, upto: int) -> None:
        """Notes that training has read `round_` before slice `upto`, and all earlier rounds."""
        self._read = (round_, upto)

    def holds(self, log: Holds) -> None:
        groups, size = log.held()
        self._meter.set(catalog.REPLAY_GROUPS, groups)
        self._meter.set(catalog.REPLAY_BYTES, size)
        self._meter.set(catalog.REPLAY_LAG, log.held(*self._read)[0])
