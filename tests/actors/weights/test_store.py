"""The weight store: one copy a node, published once, and no write to it goes unnoticed."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from actors.weights import store as weight_store
from actors.weights.digests import DigestMismatch, weights_digest
from actors.weights.mapped import MappedWeights, WeightsTampered
from actors.weights.store import UnknownVersion, WeightStoreActor, put

Start = Callable[[int], list[Any]]
PATIENCE = 240.0  # seconds: a busy machine is slow, not wrong
SIDE = 1024  # 4 MiB a matrix: large enough for the object store, not inlined in a message


def weights(version: int) -> dict[str, np.ndarray]:
    return {
        "layer.weight": np.full((SIDE, SIDE), version + 0.5, dtype=np.float32),
        "layer.bias": np.arange(SIDE, dtype=np.float32) + version,
    }


class Layer:
    """The part of a policy that takes weights, over a real torch module."""

    def __init__(self) -> None:
        with torch.device("meta"):
            self.module = torch.nn.ModuleDict({"layer": torch.nn.Linear(SIDE, SIDE)})

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        views = {name: torch.from_numpy(array) for name, array in weights.items()}
        self.module.load_state_dict(views, assign=True)

    def matrix(self) -> torch.Tensor:
        return self.module.state_dict()["layer.weight"]


@ray.remote(num_cpus=0)
class Replica:
    def __init__(self, store: Any, name: str) -> None:
        self.policy = Layer()
        self.mapped = MappedWeights(store, name, deadline_s=PATIENCE)

    def load(self, version: int) -> float:
        """Loads and gives the first weight."""
        self.mapped.load(self.policy, version)
        return float(self.policy.matrix()[0, 0])

    def write(self, value: float) -> None:
        self.policy.matrix()[0, 0] = value

    def read(self) -> float:
        return float(self.policy.matrix()[0, 0])

    def mapping(self) -> dict[str, int]:
        """KiB of the mapping that holds the matrix, from /proc/self/smaps."""
        address, inside, found = self.policy.matrix().data_ptr(), False, {"Shared": 0, "Private": 0}
        for line in Path("/proc/self/smaps").read_text().splitlines():
            first = line.split()[0]
            if not first.endswith(":"):
                low, high = (int(part, 16) for part in first.split("-"))
                inside = low <= address < high
            elif inside and first.startswith(("Shared_", "Private_")):
                found[first.split("_")[0]] += int(line.split()[1])
        return found


def wait(ref: Any) -> Any:
    return ray.get(ref, timeout=PATIENCE)


def publish(store: Any, version: int, made_of: int | None = None) -> str:
    arrays = weights(version if made_of is None else made_of)
    stated = weights_digest(arrays)
    wait(store.publish.remote(version, put(arrays, store), stated))
    return stated


@pytest.fixture
def store(ray_cluster: str) -> Iterator[Any]:
    actor = WeightStoreActor.remote(kept_versions=2)
    yield actor
    ray.kill(actor)


@pytest.fixture
def start(store: Any) -> Iterator[Start]:
    """Starts that many replicas."""
    actors: list[Any] = []

    def start_(count: int) -> list[Any]:
        actors.extend(Replica.remote(store, f"solver-{number}") for number in range(count))
        return actors

    yield start_
    for actor in actors:
        ray.kill(actor)


def test_four_replicas_map_one_copy(store: Any, start: Start) -> None:
    replicas = start(4)
    publish(store, 0)
    assert wait([replica.load.remote(0) for replica in replicas]) == [0.5] * 4
    for mapping in wait([replica.mapping.remote() for replica in replicas]):
        assert mapping["Shared"] >= SIDE * SIDE * 4 // 1024
        assert mapping["Private"] == 0
    wait(replicas[0].write.remote(41.0))
    assert wait([replica.read.remote() for replica in replicas]) == [41.0] * 4


@pytest.mark.slow
def test_a_write_through_torch_is_noticed_at_the_next_version(store: Any, start: Start) -> None:
    publish(store, 0)
    publish(store, 1)
    writer, victim, late, other = start(4)
    wait([writer.load.remote(0), victim.load.remote(0), other.load.remote(1)])
    wait(writer.write.remote(41.0))
    assert wait(victim.load.remote(0)) == 41.0  # the same version: nothing is checked
    for replica, name in ((writer, "solver-0"), (victim, "solver-1")):
        with pytest.raises(WeightsTampered, match=f"weights v0 as mapped by replica {name} hash"):
            wait(replica.load.remote(1))
    with pytest.raises(WeightsTampered, match="v0 as mapped by replica solver-2"):
        wait(late.load.remote(0))
    assert wait(late.load.remote(1)) == 1.5
    publish(store, 0)  # the way back: a good copy takes the place of the damaged one
    assert wait(late.load.remote(0)) == 0.5
    assert wait(other.load.remote(0)) == 0.5


@pytest.mark.slow
def test_versions_change_and_change_back(store: Any, start: Start) -> None:
    for version in (0, 1):
        publish(store, version)
    (replica,) = start(1)
    loaded = [wait(replica.load.remote(version)) for version in (0, 1, 1, 0)]
    assert loaded == [0.5, 1.5, 1.5, 0.5]


@pytest.mark.slow
def test_the_copy_outlives_its_publisher(store: Any, start: Start) -> None:
    (replica,) = start(1)

    @ray.remote(num_cpus=0)
    class Trainer:
        def publish(self, handle: Any) -> None:
            publish(handle, 7)

    trainer = Trainer.remote()
    wait(trainer.publish.remote(store))
    ray.kill(trainer)
    assert wait(replica.load.remote(7)) == 7.5


def await_lost(refs: Any) -> None:
    """A kill takes effect a little later, and so does the loss of what the dead owned."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            ray.get(refs, timeout=PATIENCE)
        except ray.exceptions.ObjectLostError:
            return
        time.sleep(0.1)
    raise AssertionError("the copy outlived its owner")


@pytest.mark.slow
def test_a_lost_copy_is_replaced_when_published_again(store: Any, start: Start) -> None:
    (replica,) = start(1)
    owner = WeightStoreActor.remote(kept_versions=2)
    arrays = weights(3)
    wait(store.publish.remote(3, put(arrays, owner), weights_digest(arrays)))
    ray.kill(owner)
    await_lost(wait(store.get.remote(3))[0])
    loading = replica.load.remote(3)
    assert ray.wait([loading], timeout=1.0)[0] == []
    publish(store, 3)
    assert wait(loading) == 3.5


def test_the_store_can_die_and_come_back(ray_cluster: str) -> None:
    store = WeightStoreActor.remote(kept_versions=2)
    replica = Replica.remote(store, "solver-0")
    publish(store, 1)
    assert wait(replica.load.remote(1)) == 1.5
    ray.kill(store, no_restart=False)
    deadline = time.monotonic() + PATIENCE
    while wait(store.versions.remote()) != []:  # the kill takes effect a little later
        assert time.monotonic() < deadline, "the store did not die"
    for version in (2, 3, 4):  # what the dead store owned must not be overwritten by these
        publish(store, version)
    assert wait(replica.read.remote()) == 1.5
    assert wait(replica.load.remote(4)) == 4.5  # verifies version 1 on the way
    ray.kill(replica)
    ray.kill(store)


def test_two_parts_are_on_their_way_at_a_time(
    ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote(num_cpus=0)
    class Slow:
        def __init__(self) -> None:
            self.now, self.most = 0, 0

        async def adopt(self, part: dict[str, np.ndarray]) -> list[str]:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.2)
            self.now -= 1
            return list(part)

        async def seen(self) -> int:
            return self.most

    monkeypatch.setattr(weight_store, "PART_BYTES", 1)
    slow, arrays = Slow.remote(), {str(n): np.zeros(n + 1) for n in range(6)}
    assert put(arrays, slow) == list(arrays)
    assert wait(slow.seen.remote()) == 2
    ray.kill(slow)


@pytest.mark.slow
def test_weights_of_several_parts_are_mapped_whole(
    store: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_store, "PART_BYTES", 1)
    (replica,) = start(1)
    publish(store, 5)
    assert len(wait(store.get.remote(5))[0]) == 2
    assert wait(replica.load.remote(5)) == 5.5


def test_publishing_twice_is_one_publication(store: Any) -> None:
    stated = publish(store, 1)
    refs, _ = wait(store.get.remote(1))
    assert publish(store, 1) == stated
    assert wait(store.get.remote(1)) == (refs, stated)
    assert wait(store.versions.remote()) == [1]


def test_a_wrong_digest_is_refused(store: Any) -> None:
    with pytest.raises(DigestMismatch, match=r"weights v1 were published with digest 0000.* hash"):
        wait(store.publish.remote(1, put(weights(1), store), "0" * 64))
    assert wait(store.versions.remote()) == []
    publish(store, 1)
    with pytest.raises(DigestMismatch, match=r"weights v1 are published with digest .* cannot"):
        publish(store, 1, made_of=2)


@pytest.mark.slow
def test_an_unknown_or_dropped_version_is_named(store: Any, start: Start) -> None:
    (replica,) = start(1)
    with pytest.raises(UnknownVersion, match="v0 were never published: the store keeps no version"):
        wait(replica.load.remote(0))
    for version in range(4):
        publish(store, version)
    assert wait(store.versions.remote()) == [0, 2, 3]
    with pytest.raises(UnknownVersion, match="v1 were dropped: the store keeps v0, v2, v3"):
        wait(replica.load.remote(1))


def test_a_replica_does_not_wait_for_ever(ray_cluster: str) -> None:
    @ray.remote(num_cpus=0)
    class Deaf:
        async def get(self, version: int) -> None:
            await asyncio.sleep(600)

    deaf = Deaf.remote()
    with pytest.raises(TimeoutError, match=r"waited 0.5 s for weights v2 to reach replica judge-0"):
        MappedWeights(deaf, "judge-0", deadline_s=0.5).load(Layer(), 2)
    ray.kill(deaf)
