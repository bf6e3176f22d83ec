"""Formats what `--dry-run` prints below the configuration: a run's actors and their needs.

Invariant: the table needs only the recipe and the model's sizes. No GPU and no cluster has to be
there, nor a checkpoint whose size is known from its name.
"""

from __future__ import annotations

import math

from actors.storage.paths import run_folder
from cluster.sizing import memory
from cluster.sizing.needs import Machine, Need, needs, total, waiting
from policies.footprint import Footprint
from trainer.config import RunConfig

GIB = 2**30
SIZED = {
    "proposer": memory.proposer,
    "solver": memory.solver,
    "judge": memory.judge,
    "trainer worker": memory.trainer_worker,
}
COLUMNS = "{:<20}{:>9}{:>8}{:>8}{:>8}{:>8}   {}"


def table(config: RunConfig, size: Footprint, machine: Machine) -> str:
    """Returns the needs as rows of text, and their sums beside what this machine has."""
    wanted = needs(config)
    rows = [
        COLUMNS.format("actor", "replicas", "CPUs", "in all", "GPUs", "in all", "memory of each"),
        *(_row(need, config, size) for need in wanted),
        COLUMNS.format("total", "", "", f"{total(wanted, 'cpus'):g}", "",
                       f"{total(wanted, 'gpus'):g}", "").rstrip(),
        "",
        f"CPUs {_verdict(wanted, 'cpus', machine.cpus)}",
        f"GPUs {_verdict(wanted, 'gpus', machine.gpus)}",
        *(f"{n.actor} only on nodes that offer {n.node}" for n in wanted if n.node),
        *_gpus(config, size, wanted),
        f"object store {_gib(memory.object_store(config, size))} on the weight store's node; "
        "replicas of a host map one copy of each version",
        _host(config, size),
        f"disk {_gib(memory.disk(config, size).total)} at most in {run_folder(config)}",
    ]  # fmt: skip
    assumed = memory.ASSUMED.format(
        workspace=f"{size.workspace_bytes / GIB:.2g}", instruction=size.instruction
    )
    return "\n".join([*rows, assumed])


def _gpus(config: RunConfig, size: Footprint, wanted: list[Need]) -> list[str]:
    """What the fullest GPU holds where each replica comes, as Ray has it, to the fullest one that has
    room for its fraction."""
    gpus: list[tuple[float, int]] = []  # what is free of each, and the bytes that are taken
    for need in wanted:
        for _ in range(need.replicas if need.gpus else 0):
            free, taken = min((gpu for gpu in gpus if gpu[0] >= need.gpus), default=(1.0, 0))
            if taken:
                gpus.remove((free, taken))
            left = round(free - need.gpus, 4)
            gpus.append((left, taken + SIZED[need.actor](config, size)))
    return [f"memory per GPU {_gib(max(taken for _, taken in gpus))} at most"] if gpus else []


def _host(config: RunConfig, size: Footprint) -> str:
    worker, replica = memory.reading(config, size)
    return (
        f"host memory {_gib(worker)} for each training worker and {_gib(replica)} for each replica "
        "while they read the weights, beside the object store"
    )


def _row(need: Need, config: RunConfig, size: Footprint) -> str:
    where, held = "GPU" if need.gpus else "host", SIZED.get(need.actor)
    each = f"{_gib(held(config, size))} {where}" if held else ""
    cpus, gpus = (total([need], kind) for kind in ("cpus", "gpus"))
    return COLUMNS.format(
        need.actor,
        need.replicas,
        f"{need.cpus:g}",
        f"{cpus:g}",
        f"{need.gpus:g}",
        f"{gpus:g}",
        each,
    ).rstrip()


def _verdict(wanted: list[Need], kind: str, available: float) -> str:
    asked = f"{total(wanted, kind):g}"
    if math.isinf(available):
        return f"{asked} of a cluster's, which is not asked now"
    late = waiting([need for need in wanted if getattr(need, kind)], kind, available)
    fate = f"too few, a run would be refused: {late} would wait" if late else "enough"
    return f"{asked} of {available:g} here: {fate}"


def _gib(size: int) -> str:
    return f"{size / GIB:,.2f} GiB"
