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
from typing import NamedTuple

from actors.templates import load_templates
from evaluation.suites import load_suite
from policies.config import ConfigError
from trainer.config import RunConfig

MIB = 2**20
# What one judged drawing takes in a segment, at most: pixels that PNG could not shrink, codes, text.
DRAWING_BYTES = {"tiny": 8 * 1024}
OTHER_DRAWING_BYTES = 512 * 1024
# Model, averaged model and AdamW's two moments.
COPIES_A_CHECKPOINT = 4
ROUND_ENDS_KEPT = 2
REPORT_BYTES = 16 * MIB


class Need(NamedTuple):
    """`replicas` actors of one kind that each ask Ray for `cpus`."""

    actor: str
    replicas: int
    cpus: float
    together: bool = False
    """All of them start at once or none does."""

    @property
    def total(self) -> float:
        return _cpus(self.replicas * self.cpus)


def needs(config: RunConfig) -> list[Need]:
    """In the order in which they start. Whatever only waits or stores asks for no CPU."""
    return [
        Need("weight store", 1, 0.0),
        Need("replay buffer", 1, 0.0),
        Need("proposer", config.proposer.replicas, config.proposer.cpus),
        Need("solver", config.solver.replicas, config.solver.cpus),
        Need("judge", config.judge.replicas, config.judge.cpus),
        Need("trainer controller", 1, 0.0),
        Need("trainer worker", config.trainer.workers, config.trainer.cpus, together=True),
    ]


def check(config: RunConfig, available_cpus: float, free_bytes: int, checkpoint: Path) -> None:
    """Raises ConfigError for a run that cannot come to its end here."""
    _check_names(config)
    _check_checkpoint(config, checkpoint)
    _check_cpus(f"run {config.name}", needs(config), available_cpus)
    _check_disk(config, free_bytes, checkpoint)


def check_measuring(config: RunConfig, available_cpus: float, checkpoint: Path) -> None:
    """Raises ConfigError where a checkpoint cannot be measured on its own; nothing is trained."""
    _check_names(config)
    _check_checkpoint(config, checkpoint)
    roles = [need for need in needs(config) if not need.actor.startswith("trainer")]
    _check_cpus("measuring", roles, available_cpus)


def table(config: RunConfig, available_cpus: float) -> str:
    """The needs as rows, with their sum beside what this machine has."""
    rows = [f"{'actor':<20}{'replicas':>9}{'CPUs each':>11}{'CPUs':>7}"]
    rows += [f"{n.actor:<20}{n.replicas:>9}{n.cpus:>11g}{n.total:>7g}" for n in needs(config)]
    total = _total(needs(config))
    if math.isinf(available_cpus):
        verdict = "of a cluster's, which is not asked now"
    elif total <= available_cpus:
        verdict = f"of {available_cpus:g} here: enough"
    else:
        verdict = f"of {available_cpus:g} here: too few, a run would be refused"
    rows.append(f"{'total':<40}{total:>7g}  {verdict}")
    return "\n".join(rows)


def machine_cpus() -> float:
    """What Ray will count here: the processors, or fewer where a container is held to fewer."""
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


def _check_cpus(who: str, those: list[Need], available: float) -> None:
    wanted = [need for need in those if need.cpus]
    total = _total(wanted)
    if total <= available:
        return
    asked = ", ".join(f"{n.actor} {n.replicas} x {n.cpus:g}" for n in wanted)
    *fields, last = [f"{need.actor.split()[0]}.cpus" for need in wanted]
    lower = " or ".join(filter(None, (", ".join(fields), last)))
    raise ConfigError(
        f"{who} asks for {total:g} CPUs and this machine has {available:g}: {asked}; "
        f"{_waiting(wanted, available)} would wait for ever; lower {lower} (fractions are fine), or "
        "the numbers of replicas"
    )


def _waiting(wanted: list[Need], available: float) -> str:
    """Those that find no room when all start in their order."""
    left, waiting = available, []
    for need in wanted:
        group = need.total if need.together else need.cpus
        tries = 1 if need.together else need.replicas
        fit = 0
        while fit < tries and _cpus(left - group) >= 0:
            left, fit = _cpus(left - group), fit + 1
        missing = need.replicas if need.together and not fit else tries - fit
        if missing:
            number = f"{missing} of {need.replicas} " if need.replicas > 1 else "the "
            waiting.append(f"{number}{need.actor}{'s' if need.replicas > 1 else ''}")
    return " and ".join(waiting)


def _check_disk(config: RunConfig, free: int, checkpoint: Path) -> None:
    rounds, prompts, rollouts = config.rounds, config.proposer.prompts, config.solver.rollouts
    drawing = DRAWING_BYTES.get(config.policy.family, OTHER_DRAWING_BYTES)
    weights = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    kept = config.trainer.kept_checkpoints + ROUND_ENDS_KEPT + 1  # one that is being written
    replay, versions = rounds * prompts * rollouts * drawing, rounds * weights
    checkpoints = kept * COPIES_A_CHECKPOINT * weights
    need = replay + versions + checkpoints + REPORT_BYTES
    if need <= free:
        return
    raise ConfigError(
        f"{Path(config.folder) / config.name} needs up to {_mib(need)} and its disk has "
        f"{_mib(free)} for it: replay {_mib(replay)} ({rounds} rounds x {prompts} prompts x "
        f"{rollouts} drawings x {drawing // 1024} KiB), versions {_mib(versions)} ({rounds} x "
        f"{_mib(weights)} of weights), checkpoints {_mib(checkpoints)} ({kept} x "
        f"{COPIES_A_CHECKPOINT} x weights), report {_mib(REPORT_BYTES)}; free some, or give "
        "folder=... on another disk, or lower rounds or proposer.prompts"
    )


def _total(wanted: list[Need]) -> float:
    return _cpus(sum(need.total for need in wanted))


def _cpus(number: float) -> float:
    """Ray counts CPUs in ten-thousandths; so do we, or 0.1 + 0.2 would not fit into 0.3."""
    return round(number * 10_000) / 10_000


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
