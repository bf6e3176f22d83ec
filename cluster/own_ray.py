"""The Ray that a command works on.

Invariant: a command joins the cluster that RAY_ADDRESS names, and no other; without one it starts a
Ray of its own on this machine, which ends with it. It never stops a Ray that it did not start.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def settle() -> None:
    """Ray's environment, where the person has not set it; comes before anything imports ray,
    which reads it then."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run reports to nobody
    if not os.environ.get("RAY_ADDRESS"):
        # Ray's own default for a new cluster, without its warning. Others on this network could
        # else run code here; RAY_AUTH_MODE=disabled turns it off.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def connected() -> Iterator[None]:
    import ray

    own: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):
        # The dashboard costs half of what an idle Ray takes; `ray start --head` brings it.
        own = {"address": "local", "include_dashboard": False}
    ray.init(log_to_driver=False, logging_level=logging.WARNING, **own)
    # What a cluster or a container sends to end a command is to it like Ctrl-C; Ray's own handler
    # would end the process with a dump of addresses.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        ray.shutdown()
