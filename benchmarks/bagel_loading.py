"""How much memory of the host it takes until a BAGEL can sample in bfloat16: through float32, and not.

Invariant: each way has a process of its own, which reports the peak of its anonymous memory: pages of
the mapped file can be given back, and are not counted.

`python -m benchmarks.bagel_loading [--layers 8]`
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch

from policies.bagel.policy import BagelPolicy
from policies.config import BagelPolicyConfig
from policies.registry import load_policy
from tests.policies.bagel import small

WAYS = ("moved", "loaded", "float32")
MIB = 2**20


def write(folder: Path, layers: int) -> int:
    """A checkpoint in bfloat16 with a wide language model; returns its number of parameters."""
    wide = replace(
        small.CONFIG.language, hidden_size=1024, intermediate_size=4096, layers=layers, heads=8,
        kv_heads=2, head_dim=128, vocab_size=8192,
    )  # fmt: skip
    small.CONFIG = replace(small.CONFIG, language=wide)
    loaded = small.loaded(0)
    loaded.module.to(torch.bfloat16)
    BagelPolicy(loaded).save_pretrained(folder)
    return sum(weight.numel() for weight in loaded.module.parameters())


def peak(folder: Path, way: str) -> int:
    """Bytes above what the process held before it read anything."""
    before, most, done = _anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, _anonymous())
            time.sleep(0.002)

    watching = threading.Thread(target=watch)
    watching.start()
    config = BagelPolicyConfig(path=str(folder))
    policy = load_policy(config, "bfloat16" if way == "loaded" else "float32")
    if way == "moved":
        policy.sample_on("cpu", "bfloat16")
    done.set()
    watching.join()
    return max(most, _anonymous()) - before


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "WAY"))
    arguments = parser.parse_args()
    if arguments.measure:
        folder, way = arguments.measure
        print(peak(Path(folder), way))
        return
    with tempfile.TemporaryDirectory() as folder:
        parameters = write(Path(folder), arguments.layers)
        print(f"{parameters / 1e6:.0f} M parameters")
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.bagel_loading", "--measure", folder, way]
            found = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{way:8} {found / MIB:8,.0f} MiB, {found / parameters:.2f} bytes a parameter")


if __name__ == "__main__":
    main()
