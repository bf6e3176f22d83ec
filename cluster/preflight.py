"""What a run needs, compared with what is there, before anything starts.

Invariant: a run that would wait for ever, or die of a full disk after hours, is refused at once
with one sentence that names every part of the need and a way out. So is one that names templates
or a suite that there are not.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import torch

from actors.templates import load_templates
from cluster import memory
from cluster.needs import Machine, Need, needs, total, waiting
from evaluation.suites import load_suite
from policies.config import ConfigError
from policies.footprint import Footprint
from policies.registry import footprint
from trainer.config import RunConfig

MIB = 2**20
SAMPLING = ("proposer", "solver", "judge")
HINTS = {"cpus": "fractions are fine", "gpus": "a fraction shares one, 0 is the host"}


def check(config: RunConfig, machine: Machine, free_bytes: int, checkpoint: Path) -> None:
    """Raises ConfigError for a run that cannot come to its end here, CheckpointError for a model
    that does not say how large it is."""
    _check_names(config)
    _check_checkpoint(config, checkpoint)
    size = footprint(config.policy)
    _check_family(config, size)
    _check_room(f"run {config.name}", needs(config), machine)
    _check_disk(config, free_bytes, size)


def check_measuring(config: RunConfig, machine: Machine, checkpoint: Path) -> None:
    """Raises ConfigError where a checkpoint cannot be measured on its own; nothing is trained."""
    _check_names(config)
    _check_checkpoint(config, checkpoint)
    _check_family(config, footprint(config.policy))
    roles = [need for need in needs(config) if not need.actor.startswith("trainer")]
    _check_room("measuring", roles, machine)


def this_machine() -> Machine:
    """What Ray will count here."""
    return Machine(machine_cpus(), float(torch.cuda.device_count()))


def machine_cpus() -> float:
    """The processors, or fewer where a container is held to fewer."""
    cpus = float(os.cpu_count() or 1)
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.exists():
        quota, period = limit.read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1.0, int(quota) // int(period)))
    return cpus


def room(folder: Path) -> int:
    """Bytes that the run in `folder` has already or may still take of its disk. Raises ConfigError
    where that cannot be told."""
    try:
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())
        held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return shutil.disk_usage(place).free + held
    except OSError as error:
        raise ConfigError(
            f"the run folder {folder} cannot be looked at ({error.strerror}); give a folder=... "
            "that can be written to"
        ) from error


def _check_names(config: RunConfig) -> None:
    load_templates(config.actors.templates)
    load_suite(config.evaluation.suite)


def _check_checkpoint(config: RunConfig, checkpoint: Path) -> None:
    # isdir() says no where Path.is_dir() raises, such as in a folder that is closed to us.
    if not (os.path.isdir(checkpoint) and any(checkpoint.glob("*.safetensors"))):  # noqa: PTH112
        raise ConfigError(
            f"policy.path is {config.policy.path!r} of family {config.policy.family!r}: there is no "
            f'checkpoint in {checkpoint} (no *.safetensors); give the folder of one, or "base" in '
            "a complete clone"
        )


def _check_family(config: RunConfig, size: Footprint) -> None:
    family, dtype = config.policy.family, config.policy.dtype
    if dtype not in size.dtypes:
        raise ConfigError(
            f"policy.dtype is {dtype!r}: family {family} samples in {' or '.join(size.dtypes)} only"
        )
    for need in needs(config):
        if need.actor in SAMPLING and need.gpus and "cuda" not in size.devices:
            raise ConfigError(
                f"{need.actor}.gpus is {need.gpus:g}: family {family} samples on CPU only: set "
                f"{need.actor}.gpus to 0"
            )


def _check_room(who: str, those: list[Need], machine: Machine) -> None:
    for kind in ("cpus", "gpus"):
        available = getattr(machine, kind)
        wanted = [need for need in those if getattr(need, kind)]
        if math.isinf(available) or not (late := waiting(wanted, kind, available)):
            continue
        asked = ", ".join(f"{n.actor} {n.replicas} x {getattr(n, kind):g}" for n in wanted)
        *fields, last = [f"{need.actor.split()[0]}.{kind}" for need in wanted]
        lower = " or ".join(filter(None, (", ".join(fields), last)))
        raise ConfigError(
            f"{who} asks for {total(wanted, kind):g} {kind[:-1].upper()}s and this machine has "
            f"{available:g}: {asked}; {late} would wait for ever; lower {lower} ({HINTS[kind]}), or "
            "the numbers of replicas"
        )


def _check_disk(config: RunConfig, free: int, size: Footprint) -> None:
    need = memory.disk(config, size)
    if need.total <= free:
        return
    rounds, prompts, rollouts = config.rounds, config.proposer.prompts, config.solver.rollouts
    raise ConfigError(
        f"{Path(config.folder) / config.name} needs up to {_mib(need.total)} and its disk has "
        f"{_mib(free)} for it: replay {_mib(need.replay)} ({rounds} rounds x {prompts} prompts x "
        f"{rollouts} drawings x {size.drawing_bytes // 1024} KiB), versions {_mib(need.versions)} "
        f"({rounds} x {_mib(need.versions // rounds)} of weights), checkpoints "
        f"{_mib(need.checkpoints)} ({need.kept} x {memory.COPIES_A_CHECKPOINT} x what is trained), "
        f"report {_mib(memory.REPORT_BYTES)}; free some, or give folder=... on another disk, or "
        "lower rounds or proposer.prompts"
    )


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
