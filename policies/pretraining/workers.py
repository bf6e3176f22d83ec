"""The processes that train a model together, one thread each."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

Work = Callable[[argparse.Namespace], object]
"""A function of a module, done by every worker; `out` of the arguments is what it writes."""


def shared_parser(doc: str, scenes: int) -> argparse.ArgumentParser:
    """Of what every training takes; `doc` is its module's, and `scenes` how many it has by default."""
    made = argparse.ArgumentParser(description=doc.split("\n")[0])
    made.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    made.add_argument("--device", default="cpu", help="of every worker, such as cuda")
    made.add_argument("--scenes", type=int, default=scenes)
    return made


def spawned(work: Work, arguments: argparse.Namespace) -> None:
    """`work` by `arguments.workers` processes, which are a process group."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_begin, (work, arguments, f"{folder}/meeting"), nprocs=arguments.workers)


def _begin(rank: int, work: Work, arguments: argparse.Namespace, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=arguments.workers
    )
    started = time.time()
    work(arguments)
    if rank == 0:
        minutes = (time.time() - started) / 60
        print(f"{arguments.out} written after {minutes:.1f} minutes", flush=True)
    dist.destroy_process_group()
