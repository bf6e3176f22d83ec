"""How many replicas a pool wants.

Invariant: never fewer than `least`, never more than `most`; more as soon as the work that waits
would take them too long, fewer only after they have not been needed for a while.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Demand:
    """`backlog_s` is how long all work at hand may take before more replicas are wanted, and
    `cool_down_s` how long fewer must do before some may go."""

    least: int
    most: int
    backlog_s: float
    cool_down_s: float
    wanted: int = field(init=False)
    _lower: int = field(default=0, init=False)
    _lower_since: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.wanted = self.least

    def follow(self, tasks: int, task_s: float | None, now: float) -> int:
        """What is wanted `now` (seconds on any clock) with so many tasks at hand, each of which takes
        `task_s` seconds; None as long as nobody knows."""
        if task_s is None:
            return self.wanted
        needed = min(self.most, max(self.least, math.ceil(tasks * task_s / self.backlog_s)))
        # More than one replica for each task would have nothing to do.
        needed = max(self.least, min(needed, tasks))
        if needed >= self.wanted:
            self.wanted, self._lower_since = needed, None
        elif self._lower_since is None:
            self._lower, self._lower_since = needed, now
        else:
            self._lower = max(self._lower, needed)
            if now - self._lower_since >= self.cool_down_s:
                self.wanted, self._lower_since = self._lower, None
        return self.wanted
