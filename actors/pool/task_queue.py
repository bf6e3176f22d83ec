"""The line of tasks that wait for a replica: first come, first served.

Invariant: a lease is in one replica's hands as soon as its turn comes, so nobody is given more than
they may hold; and one turn costs no more however long the line is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from actors.pool.leases import Lease, ReplicaHandle


class TaskQueue:
    """`freest` names the replica that is to have the next lease, if one may. While there is none
    and `broken` says why there will be none, that is raised in those who wait."""

    def __init__(self, freest: Callable[[], ReplicaHandle | None]) -> None:
        self.broken: Exception | None = None
        self._freest = freest
        self._turns: deque[tuple[asyncio.Future[ReplicaHandle], Lease]] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    async def replica_for(self, lease: Lease) -> ReplicaHandle:
        """The replica that has `lease` now. It comes: every lease has a deadline, and so has every
        start."""
        while True:
            turn: asyncio.Future[ReplicaHandle] = asyncio.get_running_loop().create_future()
            self._turns.append((turn, lease))
            self.hand_out()
            try:
                replica = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give_back(turn.result(), lease)
                raise
            if not replica.lost:
                return replica
            self.give_back(replica, lease)  # it was lost before this went on

    def give_back(self, replica: ReplicaHandle, lease: Lease) -> None:
        replica.leases.remove(lease)
        self.hand_out()

    def hand_out(self) -> None:
        """To be called whenever a replica became free, or there will be none."""
        while self._turns:
            replica = self._freest()
            if replica is None and self.broken is None:
                return
            turn, lease = self._turns.popleft()
            if turn.done():  # whoever waited was cancelled
                continue
            if replica is not None:
                replica.leases.append(lease)
                turn.set_result(replica)
            elif self.broken is not None:
                turn.set_exception(self.broken)
