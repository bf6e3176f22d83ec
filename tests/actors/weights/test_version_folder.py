"""Versions on the disk, and a weight store that comes back with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from safetensors.numpy import load_file, save_file

from actors.storage import events
from actors.weights.digests import DigestMismatch, weights_digest
from actors.weights.mapped import MappedWeights
from actors.weights.store import UnknownVersion, WeightStoreActor, publish
from actors.weights.version_folder import VersionDamaged, VersionFolder
from policies.checks import bfloat16_bits
from policies.config import TinyPolicyConfig
from policies.tiny.checkpoint import seal
from policies.tiny.policy import TinyPolicy
from tests.trainer.small import save_small_policy, small_policy

PATIENCE = 240.0  # seconds: a busy machine is slow, not wrong


@pytest.fixture
def folder(tmp_path: Path) -> VersionFolder:
    return VersionFolder(tmp_path, TinyPolicyConfig(path=save_small_policy(tmp_path / "base")))


def weights(version: int) -> dict[str, np.ndarray]:
    return small_policy(version).weights()


def write(folder: VersionFolder, version: int, made_of: int | None = None) -> None:
    arrays = weights(version if made_of is None else made_of)
    folder.write(version, arrays, weights_digest(arrays))


def same(folder: VersionFolder, version: int) -> bool:
    """Whether what is read is what was published, by its digest and by its arrays."""
    arrays, measured = folder.read(version)
    return measured == weights_digest(arrays) == weights_digest(weights(version))


def test_what_was_written_is_read_and_is_a_public_checkpoint(folder: VersionFolder) -> None:
    for version in (2, 1):
        write(folder, version)
    assert folder.versions() == [0, 1, 2]
    for version in (0, 1, 2):
        assert same(folder, version)
    assert weights_digest(TinyPolicy.from_pretrained(folder.path(2)).weights()) == weights_digest(
        weights(2)
    )


def test_a_version_in_bfloat16_comes_back_as_it_was_published(folder: VersionFolder) -> None:
    arrays = bfloat16_bits(weights(1))
    folder.write(1, arrays, weights_digest(arrays))
    write(folder, 2)
    folder.write(1, arrays, weights_digest(arrays))
    back, measured = folder.read(1)
    assert {array.dtype for array in back.values()} == {np.dtype(np.uint16)}
    assert measured == weights_digest(arrays) == weights_digest(back)
    assert same(folder, 2)
    exact = TinyPolicy.from_pretrained(folder.path(1)).weights()
    assert weights_digest(bfloat16_bits(exact)) == measured


def test_the_same_again_is_nothing_and_others_are_refused(folder: VersionFolder) -> None:
    write(folder, 1)
    before = folder.path(1).stat().st_mtime_ns
    write(folder, 1)
    assert folder.path(1).stat().st_mtime_ns == before
    with pytest.raises(DigestMismatch, match=r"00001 holds weights v1 with digest .* cannot take"):
        write(folder, 1, made_of=2)


def test_what_a_dead_writer_left_is_no_version(folder: VersionFolder) -> None:
    write(folder, 1)
    (folder.folder / "00002.tmp").mkdir()
    (folder.folder / "00002.tmp" / "config.json").write_text("{")
    assert folder.versions() == [0, 1]
    write(folder, 2)
    assert same(folder, 2)


def test_an_altered_version_is_named(folder: VersionFolder) -> None:
    write(folder, 1)
    file = folder.path(1) / "model.safetensors"
    arrays = load_file(file)
    first = sorted(arrays)[0]
    arrays[first] = arrays[first] + 1
    save_file(arrays, file, metadata={"format": "pt"})
    with pytest.raises(VersionDamaged, match=r"holds no weights .*damaged.* delete it and resume"):
        folder.read(1)
    seal(folder.path(1))  # a whole checkpoint by itself, but not the one that was published
    with pytest.raises(VersionDamaged, match=r"versions/00001 holds .* delete it and resume"):
        folder.read(1)
    (folder.path(1) / "digest.txt").unlink()
    with pytest.raises(VersionDamaged, match=r"00001 has no digest.txt .*resume"):
        folder.read(1)


@pytest.mark.slow
def test_a_killed_store_comes_back_with_every_version(
    ray_cluster: str, folder: VersionFolder, tmp_path: Path
) -> None:
    """Those beyond the ones it keeps in memory are read when somebody names them."""

    @ray.remote(num_cpus=0)
    class Replica:
        def __init__(self, store: Any) -> None:
            self.policy = small_policy(9)
            self.policy.module.requires_grad_(False)
            self.mapped = MappedWeights(store, "solver 0", PATIENCE)

        def load(self, version: int) -> str:
            self.mapped.load(self.policy, version)
            return weights_digest(self.policy.weights())

    store = WeightStoreActor.remote(2, folder)
    replica = Replica.remote(store)
    for version in (1, 2, 3):
        publish(weights(version), version, store, PATIENCE, PATIENCE)
    first = events.read(tmp_path)[-1]
    assert first["who"] == "weight store"
    os.kill(first["pid"], signal.SIGKILL)
    for version in (3, 1, 0, 2):
        answer = replica.load.remote(version)
        assert ray.get(answer, timeout=PATIENCE) == weights_digest(weights(version))
    assert ray.get(store.versions.remote(), timeout=PATIENCE) == [0, 1, 2, 3]
    assert [event["who"] for event in events.read(tmp_path)] == ["weight store"] * 2
    publish(weights(4), 4, store, PATIENCE, PATIENCE)
    with pytest.raises(UnknownVersion, match="v7 were never published"):
        ray.get(replica.load.remote(7), timeout=PATIENCE)
    ray.kill(store)
    ray.kill(replica)


def test_a_version_is_durable_before_it_is_acknowledged(
    ray_cluster: str, folder: VersionFolder
) -> None:
    store = WeightStoreActor.remote(2, folder)
    publish(weights(1), 1, store, PATIENCE, PATIENCE)
    assert same(folder, 1)
    ray.kill(store)
