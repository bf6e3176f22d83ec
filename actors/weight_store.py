"""Weight versions: published once, with their hash, and mapped by every replica of a node.

Invariant: a version's arrays never change. One copy per node lies in Ray's object store; what
maps it must not write to it, and a write that torch let through is noticed by the hash at the
next version change. Version 0 and the `kept_versions` newest are kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import ray

from actors.waiting import Signal
from policies.errors import UserError

Arrays = Mapping[str, np.ndarray]
Ref = ray.ObjectRef[dict[str, np.ndarray]]

PART_BYTES = 64 * 2**20


class UnknownVersion(LookupError):
    """A version that was never published or is kept no more; the message names those kept."""


class DigestMismatch(ValueError):
    """A version whose arrays or digest are not those it was published with."""


class WeightsTampered(UserError, RuntimeError):
    """Mapped weights differ from what was published; the message names version and replica."""


class TakesWeights(Protocol):
    """The one part of a policy that the weight store needs."""

    def load_weights(self, weights: Arrays) -> None: ...


def digest(weights: Arrays) -> str:
    """sha256 over the sorted names, each with dtype, shape and bytes."""
    total = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name], order="C")
        total.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        total.update(array.reshape(-1).view(np.uint8).data)  # a view, never a copy
    return total.hexdigest()


def put(weights: Arrays, store: Any, deadline_s: float = 120.0) -> list[Ref]:
    """Hands `weights` to the actor `store`, which puts them into the object store.

    Who puts a copy owns it, and it dies with its owner: so the store puts it and the copy
    outlives the publisher. It is handed over in parts, so that only one part is there twice.
    Arrays that are not contiguous would be copied again by every reader, so they are made so.
    """
    refs = []
    for part in parts(weights):
        contiguous = {name: np.asarray(array, order="C") for name, array in part.items()}
        what = f"the weight store to take {len(part)} arrays from {next(iter(part))} on"
        refs += _get(store.adopt.remote(contiguous), deadline_s, what)
    return refs


def parts(weights: Arrays) -> Iterator[dict[str, np.ndarray]]:
    """The arrays in parts of at most PART_BYTES, or of one array that is larger than that."""
    part: dict[str, np.ndarray] = {}
    for name, array in weights.items():
        if part and sum(a.nbytes for a in part.values()) + array.nbytes > PART_BYTES:
            yield part
            part = {}
        part[name] = array
    if part:
        yield part


def _merged(found: Sequence[Arrays]) -> dict[str, np.ndarray]:
    return {name: array for part in found for name, array in part.items()}


def _get(ref: Any, deadline_s: float, what: str) -> Any:
    try:
        return ray.get(ref, timeout=deadline_s)
    except ray.exceptions.GetTimeoutError:
        raise TimeoutError(f"waited {deadline_s:g} s for {what}") from None


@dataclass(frozen=True)
class Published:
    refs: list[Ref]
    digest: str


class WeightStore:
    """Which versions there are. Holds references only; knows nothing of waiting or of Ray."""

    def __init__(self, kept_versions: int) -> None:
        self.kept_versions = kept_versions
        self._kept: dict[int, Published] = {}
        self._digests: dict[int, str] = {}

    def publish(self, version: int, refs: list[Ref], stated: str, measured: str) -> None:
        """Takes a version whose arrays hash to `measured`; raises DigestMismatch."""
        self.require_same(version, stated)
        if stated != measured:
            raise DigestMismatch(
                f"weights v{version} were published with digest {stated} but their arrays hash to "
                f"{measured}: the copy is damaged, put and publish it again"
            )
        self._digests[version] = stated
        self._kept[version] = Published(refs, stated)
        for old in sorted(self._kept)[: -self.kept_versions]:
            if old != 0:
                del self._kept[old]

    def require_same(self, version: int, stated: str) -> None:
        """Raises DigestMismatch if `version` was published with another digest before."""
        known = self._digests.get(version, stated)
        if known != stated:
            raise DigestMismatch(
                f"weights v{version} are published with digest {known} and cannot become "
                f"{stated}: publish other weights under another version"
            )

    def get(self, version: int) -> tuple[list[Ref], str]:
        if version not in self._kept:
            fate = "were dropped" if version in self._digests else "were never published"
            raise UnknownVersion(
                f"weights v{version} {fate}: the store keeps {self.describe()} "
                f"(v0 and the {self.kept_versions} newest)"
            )
        published = self._kept[version]
        return published.refs, published.digest

    def published(self, version: int) -> bool:
        """True also for a version that is kept no more."""
        return version in self._digests

    def versions(self) -> list[int]:
        return sorted(self._kept)

    def describe(self) -> str:
        return ", ".join(f"v{version}" for version in self.versions()) or "no version"


class WeightStoreService:
    """The store as an async actor: fetches and hashes what is published, and lets others wait."""

    def __init__(self, kept_versions: int) -> None:
        self._store = WeightStore(kept_versions)
        self._signal = Signal()

    async def adopt(self, arrays: dict[str, np.ndarray]) -> list[Ref]:
        """Puts a part of a version; in a list, because Ray replaces a bare reference by its value
        when it is passed to an actor."""
        return [ray.put(arrays)]

    async def publish(self, version: int, refs: list[Ref], digest: str) -> None:
        """Idempotent: a copy that is still good is kept, one that was damaged or lost with its
        node is replaced by the copy given now."""
        self._store.require_same(version, digest)
        if version in self._store.versions() and await self._intact(version):
            return
        self._store.publish(version, refs, digest, await self._measure(refs))
        self._signal.notify()

    async def get(self, version: int) -> tuple[list[Ref], str]:
        return self._store.get(version)

    async def versions(self) -> list[int]:
        return self._store.versions()

    async def wait_for(self, version: int, deadline_s: float) -> str:
        """The digest of `version` once it is published; UnknownVersion if it was dropped."""
        await self._signal.wait_until(
            lambda: self._store.published(version), deadline_s,
            lambda: f"weights v{version} to be published; the store has {self._store.describe()}",
        )  # fmt: skip
        return self._store.get(version)[1]

    async def _intact(self, version: int) -> bool:
        refs, stated = self._store.get(version)
        try:
            return await self._measure(refs) == stated
        except ray.exceptions.ObjectLostError:
            return False

    async def _measure(self, refs: list[Ref]) -> str:
        found = await asyncio.gather(*refs)
        return await asyncio.to_thread(digest, _merged(found))


WeightStoreActor: Any = ray.remote(num_cpus=0)(WeightStoreService)


class MappedWeights:
    """The weights that one replica has mapped now, and the guard over them."""

    def __init__(self, store: Any, replica: str, deadline_s: float = 120.0) -> None:
        self.version: int | None = None
        self._store = store
        self._replica = replica
        self._deadline_s = deadline_s
        self._arrays: Arrays = {}
        self._digest = digest({})

    def load(self, policy: TakesWeights, version: int) -> None:
        """Makes `policy` use `version`, mapped and not copied. Nothing happens if it does already.

        Raises UnknownVersion, or WeightsTampered if the arrays mapped until now or those of
        `version` are not what was published.
        """
        if version == self.version:
            return
        self.verify()
        refs, stated = self._fetch(self._store.get.remote(version), version)
        arrays = _merged(self._fetch(refs, version))
        self._require(arrays, stated, version)
        policy.load_weights(arrays)
        self.version, self._arrays, self._digest = version, arrays, stated

    def verify(self) -> None:
        """Raises WeightsTampered if the arrays mapped now are not what was published."""
        self._require(self._arrays, self._digest, self.version)

    def _require(self, arrays: Arrays, stated: str, version: int | None) -> None:
        measured = digest(arrays)
        if measured != stated:
            raise WeightsTampered(
                f"weights v{version} as mapped by replica {self._replica} hash to {measured}, "
                f"published was {stated}: something wrote to the shared copy in place; "
                f"publish the version again and restart the replicas of this node"
            )

    def _fetch(self, ref: Any, version: int) -> Any:
        return _get(ref, self._deadline_s, f"weights v{version} to reach replica {self._replica}")
