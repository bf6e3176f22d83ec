"""The Ray that a command works on.

Invariant: a command joins the cluster that RAY_ADDRESS names, and no other; without one it starts a
Ray of its own on this machine, which ends with it. It never stops a Ray that it did not start, and
notices within seconds when its own is gone.
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
from pathlib import Path

from actors.storage.events import born
from cluster.refusals import REFUSED
from policies.errors import UserError

ADDRESS = "RAY_ADDRESS"
ANSWER_S = 10.0
WATCH_S = 0.5
HEAD = ("raylet", "gcs_server")


class RayUnavailable(UserError):
    """No Ray to work on; the message says where it was looked for."""


def settle() -> None:
    """Ray's environment, where the person has not set it; comes before anything imports ray,
    which reads it then."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run reports to nobody
    if not os.environ.get(ADDRESS):
        # Ray's own default for a new cluster, without its warning. Others on this network could
        # else run code here; RAY_AUTH_MODE=disabled turns it off.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        # Ray warns at four times as many processes, for it knows nothing of roles that take turns.
        os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
        # At Ray's own 15, a run does not even start within Ray's 30 s beside a busy process.
        os.environ.setdefault("RAY_worker_niceness", "0")


@contextmanager
def connected(interrupt: Callable[[], None] | None = None) -> Iterator[None]:
    """While this lasts, there is a Ray. `interrupt` cancels what waits for it, in an event loop that
    is not this program's; without it the main thread is interrupted. Raises RayUnavailable."""
    import ray

    pids, lost = _join() if os.environ.get(ADDRESS) else _start(), False
    watch = _Watch(pids, interrupt or _interrupt_main)
    if interrupt is None:
        # What a cluster or a container sends to end a command is to it like Ctrl-C; Ray's own
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
            "Ray ended while it was being used (was it stopped, or killed for want of memory?); the "
            "same command, or `unicorn-ray resume FOLDER`, goes on"
        ) from error
    finally:
        if lost:
            _abandon()
        else:
            ray.shutdown()


def head(driver: int) -> list[int]:
    """The processes of the Ray that a driver started for itself."""
    try:
        children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
        return [int(c) for c in children if Path(f"/proc/{c}/comm").read_text().strip() in HEAD]
    except OSError:  # one of them ended just now
        return []


class _Watch(threading.Thread):
    """Calls `interrupt` once one of the processes `pids` of our own Ray is gone: by itself Ray lets
    a driver wait for a minute, and then ends it without a word."""

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
    # Not SIGINT, which a shell has its background jobs ignore.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _abandon() -> None:
    """Ends what is left of our Ray, and this process without its help when it comes to its end:
    threads that still wait for an answer would in `ray.shutdown` end it at once with exit code 1."""
    for pid in head(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    atexit.register(os._exit, REFUSED)


def _ended(error: BaseException) -> bool:
    """Whether the cluster that we joined explains `error`, which is no wish of a person's."""
    import ray

    return isinstance(error, Exception) and not any(node["Alive"] for node in ray.nodes())


def _join() -> list[int]:
    """The processes of it that are ours to watch: none."""
    import ray

    _require_answer(os.environ[ADDRESS])
    ray.init(log_to_driver=False, logging_level=logging.WARNING)
    return []


def _start() -> list[int]:
    """The processes of it that are ours to watch."""
    import ray

    try:
        # The dashboard costs half of what an idle Ray takes; `ray start --head` brings it.
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
    """Ray itself would knock at a wrong address for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # such as auto: for Ray to find
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except OSError as error:
        raise RayUnavailable(
            f"no Ray answers at {address}, which {ADDRESS} names ({error}); start that cluster, or "
            f"unset {ADDRESS} to run on this machine"
        ) from error
