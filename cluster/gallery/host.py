"""Where a gallery lives: beside a run as an actor on the driver's node, or in a process of its own.

Invariant: a run neither waits for its gallery nor ends with it. One that dies comes back under the
same link; one that cannot be served is told in one sentence, and the run goes on.
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
"""Whoever looks must not slow down the run."""


class GalleryService:
    """A gallery that answers from a thread of this process, from when it is made."""

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
            )  # for who asks: raised here, Ray would make a traceback of it
            return
        work = server.serve(gallery, self._address, listening)
        threading.Thread(target=asyncio.run, args=(work,), name="gallery", daemon=True).start()

    def announcement(self) -> str:
        """Raises GalleryError."""
        if self._problem:
            raise GalleryError(self._problem)
        return self._address.announcement

    def __repr__(self) -> str:
        """What Ray's dashboard shows of an actor."""
        return f"gallery {self._address.link}"


GalleryActor: Any = ray.remote(num_cpus=0, max_restarts=-1)(GalleryService)


@contextmanager
def beside(
    folder: StoragePath, address: GalleryAddress | None, tell: Callable[[str], None]
) -> Iterator[None]:
    """While this lasts, the run in `folder` can be looked at; `tell` hears of the link, or why
    there is none. Needs a connected Ray; None for no gallery."""
    if address is None:
        yield
        return
    actor, over = _start(folder, address), threading.Event()
    waiting = threading.Thread(target=_await, args=(actor, tell, over), daemon=True)
    waiting.start()
    try:
        yield
    finally:
        over.set()
        waiting.join(2 * LOOK_S)  # Ray must not be shut down under it


def in_front(folder: StoragePath, address: GalleryAddress, tell: Callable[[str], None]) -> None:
    """Serves the folder until it is interrupted. Raises ConfigError or GalleryError."""
    bucket.wait_at_most(0)
    gallery = Gallery(folder)
    listening, address = server.listen(address)
    tell(address.announcement)
    with suppress(KeyboardInterrupt):
        asyncio.run(server.serve(gallery, address, listening))


def _start(folder: StoragePath, address: GalleryAddress) -> Any:
    node = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    with suppress(GalleryError):  # the actor meets the same, and says so
        # Settled here, so that one that is started again keeps its link.
        listening, address = server.listen(address)
        listening.close()
    return GalleryActor.options(scheduling_strategy=here).remote(str(folder), address)


def _await(actor: Any, tell: Callable[[str], None], over: threading.Event) -> None:
    """In short waits, for a run may end before its gallery has started."""
    answer, end = actor.announcement.remote(), time.monotonic() + START_S
    try:
        while not over.is_set():
            if ray.wait([answer], timeout=LOOK_S)[0]:
                return tell(ray.get(answer, timeout=LOOK_S))
            if time.monotonic() > end:
                return tell(f"no gallery: it did not start within {START_S:g} s")
    except Exception as error:
        if not over.is_set():
            tell(f"no gallery: {message_of(error).splitlines()[0]}")
