"""What is refused before any work starts, whoever asks for it: a command, a notebook or a job.

Invariant: each check raises a UserError of one sentence, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING

from actors.storage.paths import run_folder
from policies.errors import ConfigError, UserError

if TYPE_CHECKING:
    from cluster.gallery.address import GalleryAddress
    from cluster.sizing.needs import Machine, Need
    from evaluation.tasks.ready import ReadyTask
    from trainer.config import RunConfig


class LoopRuns(UserError):
    """An event loop runs already, and cannot run another one inside."""


def no_event_loop() -> None:
    """Raises LoopRuns where only `await` can wait, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise LoopRuns("an event loop runs here already, as in a notebook: use `await run_async(...)`")


def at_least_one(option: str, value: int | None) -> None:
    """Raises ConfigError for a number that is given and is less."""
    if value is not None and value < 1:
        raise ConfigError(f"{option} is {value}: it must be 1 or more")


def preflight(config: RunConfig) -> list[ReadyTask]:
    """Whether this machine and the folder can hold the run; settles Ray's environment before Ray
    is imported. Returns the tasks that the recipe names. Raises UserError."""
    from cluster.session import jobs, ray_session

    ray_session.settle()
    if os.environ.get(jobs.INSIDE):
        jobs.require_shared(config)

    from cluster.recipes import tasks
    from cluster.sizing import preflight
    from cluster.watch import loggers
    from policies.registry import checkpoint_folder

    loggers.require(config.loggers, run_folder(config))
    named = tasks.of_run(config)
    _servers(config, named)
    room = preflight.room(run_folder(config))
    preflight.check(config, machine(), room, checkpoint_folder(config.policy))
    return named


def _servers(config: RunConfig, tasks: list[ReadyTask]) -> None:
    """Whether the servers that play a role, or judge a task, serve their models. Raises UserError."""
    from actors.roles.server import ServerWriter

    for role, own in (("proposer", config.proposer), ("judge", config.judge)):
        if own.server:
            ServerWriter(role, own.server, own.server_model, patience_s=10.0).require()
    for task in tasks:
        if task.server:
            task.server.require()


def machine() -> Machine:
    """This machine; it is without limits where RAY_ADDRESS names a cluster, which is judged once it
    is joined."""
    from cluster.sizing import preflight
    from cluster.sizing.needs import Machine

    known = not os.environ.get("RAY_ADDRESS")
    return preflight.this_machine() if known else Machine(math.inf, math.inf)


def capacity(who: str, wanted: list[Need]) -> None:
    """Whether the cluster that was joined has room; this machine was asked before Ray started.
    Raises UserError."""
    from cluster.session import ray_session
    from cluster.sizing import capacity

    if os.environ.get(ray_session.ADDRESS):
        capacity.require(who, wanted, capacity.joined())


def gallery_address(place: str) -> GalleryAddress | None:
    """Where the gallery of a run listens, from HOST:PORT; None for "off". Raises GalleryError."""
    if place == "off":
        return None

    from cluster.gallery.address import TOKEN, GalleryAddress, GalleryError

    host, colon, port = place.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit()):
        raise GalleryError(
            f"--gallery is {place!r}: it must be HOST:PORT, such as 127.0.0.1:8270, or off"
        )
    return GalleryAddress.of(host.strip("[]"), int(port[:9]), os.environ.get(TOKEN, ""))
