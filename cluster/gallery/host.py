"""Hosts a gallery: as an actor on the driver's node beside a run, or in the process of a command.

Invariant: a run neither waits for its gallery nor ends with it. A gallery that dies comes back
under the same link; one that cannot be served is reported in one sentence, and the run goes on.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.pool.faults import message_of
from actors.storage import bucket
from actors.storage.events import note_start
from actors.storage.paths import StoragePath, parse_path
from cluster.gallery import server
from cluster.gallery.address import GalleryAddress, GalleryError
from cluster.gallery.views import Gallery
from policies.errors import UserError

START_S = 120.0
LOOK_S = 0.5
NICENESS = 10
"""A gallery must not slow down the run."""


class GalleryService:
    """A gallery that answers from a thread of this process as soon as it is constructed."""

    def __init__(self, folder: str, address: GalleryAddress) -> None:
        os.nice(NICENESS)
        bucket.wait_at_most(0)
        note_start(folder, "gallery")
        self._address, self._problem = address, ""
        try:
            gallery = Gallery(parse_path(folder))
            listening, self._address = server.listen(address)
        except UserError as error:
            self._problem = str(
                error
            )  # kept for announcement(): raised here, Ray would show a traceback
            return
        work = server.serve(gallery, self._address, listening)
        threading.Thread(target=asyncio.run, args=(work,), name="gallery", daemon=True).start()

    def announcement(self) -> str:
        """Returns the link and how to open it. Raises GalleryError if the gallery is not served."""
        if self._problem:
            raise GalleryError(self._problem)
        return self._address.announcement

    def __repr__(self) -> str:
        """Ray's dashboard shows this text for the actor."""
        return f"gallery {self._address.link}"


GalleryActor: Any = ray.remote(num_cpus=0, max_restarts=-1)(GalleryService)


@contextmanager
def beside(
    folder: StoragePath, address: GalleryAddress | None, announce: Callable[[str], None]
) -> Iterator[None]:
    """Serves the run in `folder` while the context lasts; without an address it does nothing.
    `announce` gets the link, or the reason why there is none. Needs a connected Ray."""
    if address is None:
        yield
        return
    actor, over = _start(folder, address), threading.Event()
    waiting = threading.Thread(target=_await, args=(actor, announce, over), daemon=True)
    waiting.start()
    try:
        yield
    finally:
        over.set()
        waiting.join(2 * LOOK_S)  # Ray must not be shut down while the thread uses it


def in_front(folder: StoragePath, address: GalleryAddress, announce: Callable[[str], None]) -> None:
    """Serves the folder until Ctrl-C. Raises ConfigError or GalleryError."""
    bucket.wait_at_most(0)
    gallery = Gallery(folder)
    listening, address = server.listen(address)
    announce(address.announcement)
    with suppress(KeyboardInterrupt):
        asyncio.run(server.serve(gallery, address, listening))


def _start(folder: StoragePath, address: GalleryAddress) -> Any:
    node = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    with suppress(GalleryError):  # the actor meets the same error and reports it
        # The port is chosen here, so that an actor that restarts keeps its link.
        listening, address = server.listen(address)
        listening.close()
    return GalleryActor.options(scheduling_strategy=here).remote(str(folder), address)


def _await(actor: Any, announce: Callable[[str], None], over: threading.Event) -> None:
    """Waits in short steps, because a run may end before its gallery has started."""
    answer, end = actor.announcement.remote(), time.monotonic() + START_S
    try:
        while not over.is_set():
            if ray.wait([answer], timeout=LOOK_S)[0]:
                return announce(ray.get(answer, timeout=LOOK_S))
            if time.monotonic() > end:
                return announce(f"no gallery: it did not start within {START_S:g} s")
    except Exception as error:
        if not over.is_set():
            announce(f"no gallery: {message_of(error).splitlines()[0]}")
