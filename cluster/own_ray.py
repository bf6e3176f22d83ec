"""The Ray that a command works on.

Invariant: a command joins the cluster that RAY_ADDRESS names, and no other; without one it starts a
Ray of its own on this machine, which ends with it. It never stops a Ray that it did not start.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from policies.errors import UserError

ADDRESS = "RAY_ADDRESS"
ANSWER_S = 10.0


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
        # By itself a driver notices after a minute that its Ray is gone.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "20")
        # At Ray's own 15, a run does not even start within Ray's 30 s beside a busy process.
        os.environ.setdefault("RAY_worker_niceness", "0")


@contextmanager
def connected() -> Iterator[None]:
    """Raises RayUnavailable."""
    import ray

    if address := os.environ.get(ADDRESS):
        _require_answer(address)
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        _start()
    # What a cluster or a container sends to end a command is to it like Ctrl-C; Ray's own handler
    # would end the process with a dump of addresses.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except Exception as error:
        if any(node["Alive"] for node in ray.nodes()):
            raise
        raise RayUnavailable(
            "Ray ended while it was being used (was it stopped, or killed for want of memory?); the "
            "same command, or `unicorn-ray resume FOLDER`, goes on"
        ) from error
    finally:
        ray.shutdown()


def _start() -> None:
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
        if "timed out during startup" not in str(error):
            raise
        raise RayUnavailable(
            "Ray did not come up on this machine within its 30 s: something else keeps the "
            "processors busy; run again when it has ended"
        ) from error


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
