"""Connects a command to the Ray cluster that it works on.

Invariant: a command joins the cluster that RAY_ADDRESS names, and no other. Without that variable
it starts a Ray of its own on this machine, which ends with it. It never stops a Ray that it did not
start, and it notices within seconds when its own has died.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from actors.storage.events import born
from cluster.refusals import REFUSED
from policies.errors import UserError

ADDRESS = "RAY_ADDRESS"
ANSWER_S = 10.0
WATCH_S = 0.5
HEAD = ("raylet", "gcs_server")


class RayUnavailable(UserError):
    """There is no Ray to work on; the message says where one was looked for."""


def settle() -> None:
    """Sets Ray's environment variables, except those that the user has set. Call it before anything
    imports ray, which reads them at import."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics leave this machine
    if not os.environ.get(ADDRESS):
        # Ray's own default for a new cluster, without its warning. Otherwise others on this network
        # could run code here. RAY_AUTH_MODE=disabled turns it off.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        # Ray warns at four times as many processes, because it does not know that roles take turns.
        os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
        # Ray ends a worker that is idle for a second, where there are more than processors; the next one
        # imports torch anew, which took a third of the time of a small run on two cores.
        os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "300000")
        # With Ray's default of 15, a run beside a busy process does not start within Ray's 30 s.
        os.environ.setdefault("RAY_worker_niceness", "0")


_INSIDE = ContextVar("inside", default=False)
"""Whether a caller is connected already; another thread or task of its own is not."""


@contextmanager
def connected(interrupt: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the connection while the context lasts; inside of another one, that one is used, as by the
    runs of a study. `interrupt` cancels what waits for Ray in an event loop that is not this
    program's; without it the main thread is interrupted. Raises RayUnavailable if no Ray can be
    reached or started, or if it ends meanwhile."""
    if _INSIDE.get():
        yield
        return
    inside = _INSIDE.set(True)
    try:
        with _connected(interrupt):
            yield
    finally:
        _INSIDE.reset(inside)


@contextmanager
def _connected(interrupt: Callable[[], None] | None) -> Iterator[None]:
    import ray

    pids, lost = _join() if os.environ.get(ADDRESS) else _start(), False
    watch = _Watch(pids, interrupt or _interrupt_main)
    if interrupt is None:
        # Clusters and containers end a command with SIGTERM: handle it like Ctrl-C. Ray's own
        # handler would end the process with a dump of addresses.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with watch:
            yield
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
        lost = watch.struck or watch.one_is_gone()
        if not (lost or _ended(error)):
            raise
        raise RayUnavailable(
            "Ray ended while it was being used (was it stopped, or killed for want of memory?); "
            "the same command, or `unicorn-ray resume FOLDER`, goes on"
        ) from error
    finally:
        if lost:
            _abandon()
        else:
            ray.shutdown()


def head(driver: int) -> list[int]:
    """Returns the process ids of the Ray head that the process `driver` started for itself."""
    try:
        children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
        return [int(c) for c in children if Path(f"/proc/{c}/comm").read_text().strip() in HEAD]
    except OSError:  # one of them has just ended
        return []


class _Watch(threading.Thread):
    """Calls `interrupt` when one of the processes `pids` of our own Ray has ended. Ray alone would
    let the driver wait for a minute and then end it silently."""

    def __init__(self, pids: list[int], interrupt: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._pids, self._interrupt = pids, interrupt
        self._over = threading.Event()
        self.struck = False

    def run(self) -> None:
        while not self._over.wait(WATCH_S):
            if self.one_is_gone():
                self.struck = True
                return self._interrupt()

    def one_is_gone(self) -> bool:
        return any(born(pid) is None for pid in self._pids)

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _interrupt_main() -> None:
    """Wherever the main thread waits."""
    # Not SIGINT: a shell makes its background jobs ignore that.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _abandon() -> None:
    """Kills what is left of our Ray and lets this process exit without `ray.shutdown`, which would
    end it at once with exit code 1 while threads still wait for an answer."""
    for pid in head(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    atexit.register(os._exit, REFUSED)


def _ended(error: BaseException) -> bool:
    """Returns whether `error` comes from the end of the cluster that we joined, not from Ctrl-C."""
    import ray

    return isinstance(error, Exception) and not any(node["Alive"] for node in ray.nodes())


def _join() -> list[int]:
    """Joins the cluster; returns the process ids to watch, which are none."""
    import ray

    _require_answer(os.environ[ADDRESS])
    ray.init(log_to_driver=False, logging_level=logging.WARNING)
    return []


def _start() -> list[int]:
    """Starts a Ray on this machine; returns the ids of its processes, to be watched."""
    import ray

    try:
        # The dashboard takes half of an idle Ray's load; `ray start --head` offers one.
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except Exception as error:
        if "timed out" not in str(error).lower():
            raise
        raise RayUnavailable(
            "Ray did not come up on this machine within its 30 s: something else keeps the "
            "processors busy, or ended it; run again when that has ended"
        ) from error
    return head(os.getpid())


def _require_answer(address: str) -> None:
    """Raises RayUnavailable after ANSWER_S without answer; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # such as "auto", which Ray resolves
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except OSError as error:
        raise RayUnavailable(
            f"no Ray answers at {address}, which {ADDRESS} names ({error}); start that cluster, or "
            f"unset {ADDRESS} to run on this machine"
        ) from error
