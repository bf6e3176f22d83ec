"""What weights cost a node: the seconds until every replica has a version, against one copy in
memory; and the memory of one more replica, mapped against copied.

Invariant: everything goes through the real publish, WeightStore and MappedWeights; mapped and
copied differ only in `load_state_dict(assign=...)`. Each publication is compared with a copy that
was made just before it and is held as long as the version is, so that a machine that is busy or
slow to give out memory slows both alike. The memory figures are the kernel's
(/proc/PID/smaps_rollup), read after every replica has loaded and used every weight.

    python -m benchmarks.shared_weights [--megabytes 400] [--replicas 4] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from safetensors.numpy import save_file

from actors.storage import storage
from actors.weights.digests import Arrays
from actors.weights.mapped import MappedWeights
from actors.weights.store import WeightStoreActor, publish

ARRAYS = 25
KEPT = 2
MB = 2**20
TARGET_MB = 40
TARGET_COPIES = 2
VERSIONS = 5
PATIENCE = 300.0
PRIVATE = ("Private_Dirty", "Private_Clean")
FIELDS = ("Pss_Anon", "Pss_Shmem", *PRIVATE)


class Model:
    """A torch module of `ARRAYS` matrices that takes weights mapped or copied."""

    def __init__(self, megabytes: int, assign: bool) -> None:
        rows = megabytes * MB // (ARRAYS * 4 * 1024)
        self.assign = assign
        with torch.device("meta"):
            layers = [torch.nn.Linear(1024, rows, bias=False) for _ in range(ARRAYS)]
            self.module = torch.nn.ModuleList(layers).requires_grad_(False)
        if not assign:
            self.module.to_empty(device="cpu")

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        views = {name: torch.from_numpy(array) for name, array in weights.items()}
        self.module.load_state_dict(views, assign=self.assign)

    def use(self) -> float:
        with torch.inference_mode():
            one = torch.ones(1, 1024)
            return sum(float(layer(one).sum()) for layer in self.module)


class Replica:
    def __init__(self, store: Any, name: str) -> None:
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        torch.set_num_threads(1)
        self.mapped = MappedWeights(store, name, PATIENCE)

    def memory(self) -> dict[str, float]:
        """Returns MiB by field; Pss_Shmem is this process's share of the object store's pages."""
        found = dict.fromkeys(FIELDS, 0.0)
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
            key, value = line.split(":")
            if key in found:
                found[key] = int(value.split()[0]) / 1024
        return found

    def build(self, megabytes: int, assign: bool) -> None:
        self.model = Model(megabytes, assign)

    def load(self, version: int) -> None:
        self.mapped.load(self.model, version)

    def work(self, megabytes: int, assign: bool, version: int) -> dict[str, float]:
        start = time.perf_counter()
        self.build(megabytes, assign)
        built = time.perf_counter()
        self.load(version)
        loaded = time.perf_counter()
        total = self.model.use()
        used = time.perf_counter()
        self.mapped.verify()
        verified = time.perf_counter() - used
        return {"build": built - start, "load": loaded - built, "hash": verified,
                "first use": used - loaded, "sum": total}  # fmt: skip


ReplicaActor: Any = ray.remote(num_cpus=0)(Replica)


class Disk:
    """A storage that writes and syncs the arrays as VersionFolder does, but makes no checkpoint."""

    def __init__(self, folder: str) -> None:
        self.file = Path(folder) / "model.safetensors"

    def opened(self) -> None:
        """There is nothing to do."""

    def versions(self) -> list[int]:
        return []

    def write(self, version: int, weights: Arrays, measured: str) -> None:
        self.file.unlink(missing_ok=True)
        save_file(dict(weights), self.file)
        storage.sync(self.file)
        storage.sync(self.file.parent)


def noise(megabytes: int) -> dict[str, np.ndarray]:
    rows, draw = megabytes * MB // (ARRAYS * 4 * 1024), np.random.default_rng(0)
    return {f"{k}.weight": draw.random((rows, 1024), dtype=np.float32) for k in range(ARRAYS)}


def reach(name: str, store: Any, replicas: int, megabytes: int) -> float:
    """Publishes some versions and prints the seconds, for each and as a median: of the copy, of
    publishing, and until all replicas, which load at once, have loaded. Returns the fastest total
    over the fastest copy: a machine that is slow to give memory slows both, but not in the same
    row."""
    weights, rows = noise(megabytes), []
    actors = [ReplicaActor.remote(store, f"replica-{number}") for number in range(replicas)]
    ray.get([actor.build.remote(megabytes, True) for actor in actors], timeout=PATIENCE)
    held: deque[np.ndarray] = deque(maxlen=KEPT)
    for version in range(1, VERSIONS + 1):
        weights["0.weight"][0, 0] = version
        start = time.perf_counter()
        held.append(np.concatenate(list(weights.values())))
        copied = time.perf_counter()
        publish(weights, version, store, PATIENCE, PATIENCE)
        published = time.perf_counter()
        ray.get([actor.load.remote(version) for actor in actors], timeout=PATIENCE)
        copy, total = copied - start, time.perf_counter() - copied
        rows.append((copy, published - copied, total, total / copy))
        print(f"{name:10} {version:7}", *(f"{figure:11.2f}" for figure in rows[-1]))
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(f"{name:10}  median", *(f"{figure:11.2f}" for figure in medians))
    for actor in (*actors, store):
        ray.kill(actor)
    return min(total for *_, total, _ in rows) / min(copy for copy, *_ in rows)


def measure(store: Any, replicas: int, megabytes: int, assign: bool) -> list[dict[str, float]]:
    """Returns each replica's seconds, and the MiB that it added, once all have loaded."""
    actors = [ReplicaActor.remote(store, f"replica-{number}") for number in range(replicas)]
    before = ray.get([actor.memory.remote() for actor in actors], timeout=120)
    seconds = [ray.get(actor.work.remote(megabytes, assign, 1), timeout=300) for actor in actors]
    after = ray.get([actor.memory.remote() for actor in actors], timeout=120)
    for actor in actors:
        ray.kill(actor)
    added = [{key: a[key] - b[key] for key in FIELDS} for b, a in zip(before, after, strict=True)]
    for one in added:
        one["private"] = sum(one[key] for key in PRIVATE)
    return [{**timing, **memory} for timing, memory in zip(seconds, added, strict=True)]


def report(name: str, rows: list[dict[str, float]]) -> None:
    for number, row in enumerate(rows):
        print(
            f"{name:7} {number:7} {row['private']:9.1f} {row['Pss_Anon']:9.1f} "
            f"{row['Pss_Shmem']:10.1f} {row['build']:8.2f} {row['load']:7.2f} {row['hash']:7.2f} "
            f"{row['first use']:10.2f}"
        )


@contextmanager
def started_ray(megabytes: int, cpus: int) -> Iterator[None]:
    """Starts a Ray with room for the kept versions, one being published, and one on its way out."""
    folder = tempfile.mkdtemp(prefix="ur-")
    ray.init(address="local", num_cpus=cpus, include_dashboard=False,
             object_store_memory=int((KEPT + 2.5) * megabytes * MB), _temp_dir=folder,
             _system_config={"worker_niceness": 0})  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def seconds(megabytes: int, replicas: int, folder: str) -> bool:
    """Returns whether the target is met."""
    print(
        f"{megabytes} MiB in {ARRAYS} float32 arrays: seconds until {replicas} replicas have them"
    )
    print("way        version  fresh copy     publish  all loaded       ratio")
    with started_ray(megabytes, replicas), tempfile.TemporaryDirectory(dir=folder) as disk:
        ratio = reach("memory", WeightStoreActor.remote(KEPT), replicas, megabytes)
        reach("disk first", WeightStoreActor.remote(KEPT, Disk(disk)), replicas, megabytes)
    met = "met" if ratio <= TARGET_COPIES else "MISSED"
    print(
        f"target: at most {TARGET_COPIES}x: {met} in memory, {ratio:.2f} where both are fastest; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )
    return ratio <= TARGET_COPIES


def memory(megabytes: int, replicas: int) -> bool:
    """Returns whether the target is met."""
    with started_ray(megabytes, replicas):
        store, free = WeightStoreActor.remote(KEPT), ray.available_resources()
        publish(noise(megabytes), 1, store, PATIENCE, PATIENCE)
        time.sleep(2)  # the object store reports its use once a second
        left = ray.available_resources()["object_store_memory"]
        print(f"the object store holds {(free['object_store_memory'] - left) / MB:.0f} MiB")
        print("MiB added per replica; seconds to build, load (with hash), hash, first use")
        print("way     replica   private  Pss_Anon  Pss_Shmem    build    load    hash  first use")
        mapped = measure(store, replicas, megabytes, assign=True)
        report("mapped", mapped)
        copied = measure(store, replicas, megabytes, assign=False)
        report("copied", copied)
    assert len({row["sum"] for row in mapped + copied}) == 1, "the replicas disagree"
    worst = max(row["private"] for row in mapped)
    shared = sum(row["Pss_Shmem"] for row in mapped)
    print(f"the replicas share one copy: their Pss of it adds up to {shared:.0f} MiB")
    met = "met" if worst < TARGET_MB else "MISSED"
    print(f"target: below {TARGET_MB} MiB of its own per mapped replica: {worst:.1f}, {met}")
    return worst < TARGET_MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--folder", help="on the disk to publish to; where temporary files are")
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    met = [
        seconds(options.megabytes, options.replicas, options.folder),
        memory(options.megabytes, options.replicas),
    ]
    raise SystemExit(not all(met))


if __name__ == "__main__":
    main()
