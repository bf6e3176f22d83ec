"""Stores weight versions: each is published once, with its hash, and mapped by all replicas of a
node.

Invariant: a version's arrays never change. Each node has one copy, in Ray's object store; nobody
who maps it may write to it. A version is durable in the storage before it is acknowledged, so a
store that dies comes back with it. In memory are version 0 and the `kept_versions` used last; the
others are read from the storage when a task names them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import ray

from actors.retry import ANSWER_S, despite_loss, get_within, patiently
from actors.storage import bucket
from actors.weights.digests import Arrays, DigestMismatch, weights_digest

Ref = ray.ObjectRef[dict[str, np.ndarray]]

PART_BYTES = 64 * 2**20
SLOWEST = 20 * 2**20
"""Bytes a second of the slowest disk or bucket that is expected to store a version."""


class UnknownVersion(LookupError):
    """The version was never published, or was dropped; the message names those that are kept."""


def publish(
    weights: Arrays, version: int, store: Any, pause_s: float, deadline_s: float = ANSWER_S
) -> None:
    """Publishes `weights` as `version`, durably, through the actor `store`. The same again is a
    no-op. Tries again if the store dies, and for at most `pause_s` seconds while its disk takes no
    writes. Raises DigestMismatch or WaitTimeout."""
    stated = weights_digest(weights)
    stored_s = deadline_s + sum(array.nbytes for array in weights.values()) / SLOWEST

    def hand_over() -> None:
        taken = store.publish.remote(version, put(weights, store, deadline_s), stated)
        get_within(taken, stored_s, f"the weight store to take v{version}")

    patiently(lambda: despite_loss(hand_over, deadline_s), f"weights v{version}", pause_s)


def put(weights: Arrays, store: Any, deadline_s: float = ANSWER_S) -> list[Ref]:
    """Hands `weights` to the actor `store`, which puts them into the object store; returns
    references.

    A copy dies with the process that put it: so the store puts it, and the copy outlives the
    publisher. It goes over in parts, so that only two parts exist twice: one that the store copies,
    and one that is copied for it meanwhile.
    """
    what = f"the weight store to take a part of {len(weights)} arrays"
    handed: list[Any] = []
    for part in parts(weights):
        handed.append(store.adopt.remote(part))
        for before in handed[-2:-1]:
            get_within(before, deadline_s, what)
    return [ref for refs in handed for ref in get_within(refs, deadline_s, what)]


def fetch(
    version: int, store: Any, what: str, deadline_s: float = ANSWER_S
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a version, mapped and not copied, and its digest. Raises UnknownVersion."""

    def ask() -> tuple[dict[str, np.ndarray], str]:
        refs, stated = get_within(store.get.remote(version), deadline_s, what)
        return merged(get_within(refs, deadline_s, what)), stated

    return despite_loss(ask, deadline_s)


def parts(weights: Arrays) -> Iterator[dict[str, np.ndarray]]:
    """Yields the arrays in parts of at most PART_BYTES, or of one array that is larger than that.

    Arrays are made contiguous first; otherwise every reader would copy them again.
    """
    part: dict[str, np.ndarray] = {}
    for name, given in weights.items():
        array = np.asarray(given, order="C")
        if part and sum(a.nbytes for a in part.values()) + array.nbytes > PART_BYTES:
            yield part
            part = {}
        part[name] = array
    if part:
        yield part


def merged(found: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Joins parts into one mapping."""
    return {name: array for part in found for name, array in part.items()}


@dataclass(frozen=True)
class Published:
    refs: list[Ref]
    digest: str


class WeightStore:
    """The versions in memory. It holds references only, and neither waits nor calls Ray."""

    def __init__(self, kept_versions: int) -> None:
        self.kept_versions = kept_versions
        self._kept: dict[int, Published] = {}
        self._digests: dict[int, str] = {}

    def publish(self, version: int, refs: list[Ref], stated: str, measured: str) -> None:
        """Takes a version whose arrays hash to `measured`. Raises DigestMismatch."""
        self.require_same(version, stated)
        self.require_true(version, stated, measured)
        self._digests[version] = stated
        self._kept[version] = Published(refs, stated)
        self._use(version)

    def require_same(self, version: int, stated: str) -> None:
        """Raises DigestMismatch if `version` was published with another digest before."""
        known = self._digests.get(version, stated)
        if known != stated:
            raise DigestMismatch(
                f"weights v{version} are published with digest {known} and cannot become "
                f"{stated}: publish other weights under another version"
            )

    def require_true(self, version: int, stated: str, measured: str) -> None:
        """Raises DigestMismatch if the arrays hash to `measured` and not to `stated`."""
        if stated != measured:
            raise DigestMismatch(
                f"weights v{version} were published with digest {stated} but their arrays hash to "
                f"{measured}: the copy is damaged, put and publish it again"
            )

    def get(self, version: int) -> tuple[list[Ref], str]:
        """Returns references and digest. Raises UnknownVersion unless it is in memory."""
        if version not in self._kept:
            fate = "were dropped" if version in self._digests else "were never published"
            raise UnknownVersion(
                f"weights v{version} {fate}: the store keeps {self.describe()} "
                f"(v0 and the {self.kept_versions} used last)"
            )
        self._use(version)
        published = self._kept[version]
        return published.refs, published.digest

    def versions(self) -> list[int]:
        return sorted(self._kept)

    def _use(self, version: int) -> None:
        """Marks `version` as used last, and drops the versions that were not used for longest."""
        self._kept[version] = self._kept.pop(version)
        old = [kept for kept in self._kept if kept != 0][: -self.kept_versions]
        for each in old:
            del self._kept[each]

    def describe(self) -> str:
        return ", ".join(f"v{version}" for version in self.versions()) or "no version"


class VersionStorage(Protocol):
    """Where versions are durable; see `actors.weights.version_folder`."""

    def opened(self) -> None:
        """Called once, when a store begins to use this storage."""
        ...

    def versions(self) -> list[int]: ...

    def read(self, version: int) -> tuple[Arrays, str]:
        """Returns the version's arrays and their digest."""
        ...

    def write(self, version: int, weights: Arrays, measured: str) -> None:
        """Stores the version durably; `measured` is the digest of `weights`."""
        ...


class WeightStoreService:
    """The store as an async actor, which fetches and hashes what is published.

    With a `storage` it starts, and restarts after its death, with the versions that lie there.
    """

    def __init__(self, kept_versions: int, storage: VersionStorage | None = None) -> None:
        self._kept_versions = kept_versions
        self._storage = storage
        self._publishing, self._opening = asyncio.Lock(), asyncio.Lock()
        self._store: WeightStore | None = None
        # Nobody else writes there, and in a bucket every listing costs money.
        self._stored = set[int]()
        if storage is not None:
            bucket.wait_at_most(ANSWER_S / 2)  # others wait for this actor
            storage.opened()

    async def alive(self) -> None:
        """Answers at once, also while versions are read from the storage."""

    async def _opened(self) -> WeightStore:
        """Returns the store; the first call fills it from the storage, or raises if damaged."""
        async with self._opening:
            if self._store is None:
                self._store = await asyncio.to_thread(self._fill)
        return self._store

    def _fill(self) -> WeightStore:
        store, storage = WeightStore(self._kept_versions), self._storage
        if storage is not None:
            self._stored = set(storage.versions())
            for version in sorted(self._stored)[-self._kept_versions :]:
                _read_from_storage(store, version, storage)
        return store

    async def adopt(self, arrays: dict[str, np.ndarray]) -> list[Ref]:
        """Puts a part of a version; returns its reference in a list, because Ray replaces a bare
        reference by its value when it is passed to an actor."""
        return [ray.put(arrays)]

    async def publish(self, version: int, refs: list[Ref], stated: str) -> None:
        """Publishes a version; the same again is a no-op. A copy that is intact is kept; one that
        was damaged or lost with its node is replaced by the copy given now. Raises
        DigestMismatch."""
        store = await self._opened()
        async with self._publishing:
            store.require_same(version, stated)
            if version in store.versions() and await _intact(store, version):
                return
            arrays = merged(await asyncio.gather(*refs))
            await asyncio.to_thread(self._take, store, version, refs, arrays, stated)

    async def get(self, version: int) -> tuple[list[Ref], str]:
        """Returns references to the version's parts, and its digest. Raises UnknownVersion."""
        store, storage = await self._opened(), self._storage
        if storage and version not in store.versions() and version in self._stored:
            async with self._publishing:
                await asyncio.to_thread(_read_from_storage, store, version, storage)
        return store.get(version)

    async def versions(self) -> list[int]:
        """Returns all versions that a task may name, in memory or in the storage."""
        return sorted({*(await self._opened()).versions(), *self._stored})

    def _take(
        self, store: WeightStore, version: int, refs: list[Ref], arrays: Arrays, stated: str
    ) -> None:
        measured = weights_digest(arrays)
        store.require_true(version, stated, measured)
        if self._storage is not None:
            self._storage.write(version, arrays, measured)
            self._stored.add(version)
        store.publish(version, refs, stated, measured)


async def _intact(store: WeightStore, version: int) -> bool:
    refs, stated = store.get(version)
    try:
        arrays = merged(await asyncio.gather(*refs))
    except ray.exceptions.ObjectLostError:
        return False
    return await asyncio.to_thread(weights_digest, arrays) == stated


def _read_from_storage(store: WeightStore, version: int, storage: VersionStorage) -> None:
    arrays, measured = storage.read(version)
    store.publish(version, [ray.put(part) for part in parts(arrays)], measured, measured)


# Every call may be repeated, so Ray itself repeats it if the actor died.
WeightStoreActor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(
    WeightStoreService
)
