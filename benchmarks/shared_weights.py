"""What one more replica on a node costs: memory and seconds, mapped against copied weights.

Invariant: both ways go through the real WeightStore and MappedWeights and differ only in
`load_state_dict(assign=...)`; the figures are the kernel's own (/proc/PID/smaps_rollup), read after
every replica has loaded and used every weight.

    python -m benchmarks.shared_weights [--megabytes 400] [--replicas 4]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from actors.digests import digest
from actors.mapped_weights import MappedWeights
from actors.weight_store import WeightStoreActor, put

ARRAYS = 25
MB = 2**20
TARGET_MB = 40
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
        self.mapped = MappedWeights(store, name, deadline_s=300)

    def memory(self) -> dict[str, float]:
        """MiB by field; Pss_Shmem is this process's share of the object store's pages."""
        found = dict.fromkeys(FIELDS, 0.0)
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
            key, value = line.split(":")
            if key in found:
                found[key] = int(value.split()[0]) / 1024
        return found

    def load(self, megabytes: int, assign: bool, version: int) -> dict[str, float]:
        start = time.perf_counter()
        self.model = Model(megabytes, assign)
        built = time.perf_counter()
        self.mapped.load(self.model, version)
        loaded = time.perf_counter()
        total = self.model.use()
        used = time.perf_counter()
        self.mapped.verify()
        verified = time.perf_counter() - used
        return {"build": built - start, "load": loaded - built, "hash": verified,
                "first use": used - loaded, "sum": total}  # fmt: skip


ReplicaActor: Any = ray.remote(num_cpus=0)(Replica)


def measure(store: Any, replicas: int, megabytes: int, assign: bool) -> list[dict[str, float]]:
    """Per replica its seconds and the MiB that it added, once all have loaded."""
    actors = [ReplicaActor.remote(store, f"replica-{number}") for number in range(replicas)]
    before = ray.get([actor.memory.remote() for actor in actors], timeout=120)
    seconds = [ray.get(actor.load.remote(megabytes, assign, 1), timeout=300) for actor in actors]
    after = ray.get([actor.memory.remote() for actor in actors], timeout=120)
    for actor in actors:
        ray.kill(actor)
    added = [{key: a[key] - b[key] for key in FIELDS} for b, a in zip(before, after, strict=True)]
    for one in added:
        one["private"] = sum(one[key] for key in PRIVATE)
    return [{**timing, **memory} for timing, memory in zip(seconds, added, strict=True)]


def publish(megabytes: int) -> tuple[Any, dict[str, float]]:
    store = WeightStoreActor.remote(kept_versions=2)
    rows = megabytes * MB // (ARRAYS * 4 * 1024)
    noise = np.random.default_rng(0)
    weights = {f"{k}.weight": noise.random((rows, 1024), dtype=np.float32) for k in range(ARRAYS)}
    free = ray.available_resources()["object_store_memory"]
    times = [time.perf_counter()]
    stated = digest(weights)
    times.append(time.perf_counter())
    refs = put(weights, store)
    times.append(time.perf_counter())
    ray.get(store.publish.remote(1, refs, stated), timeout=300)
    times.append(time.perf_counter())
    del weights
    time.sleep(2)  # the object store reports its use once a second
    stored = (free - ray.available_resources()["object_store_memory"]) / MB
    digest_s, put_s, publish_s = np.diff(times)
    return store, {"digest": digest_s, "put": put_s, "publish": publish_s, "stored": stored}


def report(name: str, rows: list[dict[str, float]]) -> None:
    for number, row in enumerate(rows):
        print(
            f"{name:7} {number:7} {row['private']:9.1f} {row['Pss_Anon']:9.1f} "
            f"{row['Pss_Shmem']:10.1f} {row['build']:8.2f} {row['load']:7.2f} {row['hash']:7.2f} "
            f"{row['first use']:10.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--replicas", type=int, default=4)
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    folder = tempfile.mkdtemp(prefix="ur-")
    ray.init(address="local", num_cpus=options.replicas, include_dashboard=False,
             object_store_memory=int(2.5 * options.megabytes * MB), _temp_dir=folder,
             _system_config={"worker_niceness": 0})  # fmt: skip
    store, cost = publish(options.megabytes)
    print(
        f"{options.megabytes} MiB in {ARRAYS} float32 arrays: digest {cost['digest']:.2f} s, put "
        f"{cost['put']:.2f} s, publish {cost['publish']:.2f} s; the object store holds "
        f"{cost['stored']:.0f} MiB"
    )
    print("MiB added per replica; seconds to build the module, load (with hash), hash, first use")
    print("way     replica   private  Pss_Anon  Pss_Shmem    build    load    hash  first use")
    mapped = measure(store, options.replicas, options.megabytes, assign=True)
    report("mapped", mapped)
    copied = measure(store, options.replicas, options.megabytes, assign=False)
    report("copied", copied)
    assert len({row["sum"] for row in mapped + copied}) == 1, "the replicas disagree"
    worst = max(row["private"] for row in mapped)
    shared = sum(row["Pss_Shmem"] for row in mapped)
    print(f"the replicas share one copy: their Pss of it adds up to {shared:.0f} MiB")
    met = "met" if worst < TARGET_MB else "MISSED"
    print(f"target: below {TARGET_MB} MiB of its own per mapped replica: {worst:.1f}, {met}")
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(worst >= TARGET_MB)


if __name__ == "__main__":
    main()
