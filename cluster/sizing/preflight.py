"""Compares what a run needs with what is there, before anything starts.

Invariant: a run that would wait for ever, or fill its disk after hours, is refused at once in one
sentence that names every part of the need and a way out. A run that names templates, a suite or files
from outside that do not exist or cannot be used is refused too.
"""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

import torch

from actors.hygiene.requirements import require_filters
from actors.roles.outside import load_outside
from actors.roles.solver import rollout_sampling
from actors.roles.templates import load_templates
from actors.storage import storage
from actors.storage.paths import StoragePath, run_folder
from cluster.sizing import memory
from cluster.sizing.engines import check_engines
from cluster.sizing.needs import Machine, Need, drawing, measuring, needs, require_room
from evaluation.selection import fixed_sampling
from evaluation.suites import load_suite
from policies.checks import require_conditions, require_options
from policies.config import ConfigError
from policies.footprint import Footprint
from policies.registry import WEIGHTS, footprint, is_checkpoint, policy_class
from trainer.config import RunConfig

MIB = 2**20
SAMPLING = ("proposer", "solver", "judge")


def check(config: RunConfig, machine: Machine, free_bytes: float, checkpoint: Path) -> None:
    """Raises ConfigError if the run cannot finish here, or CheckpointError if the checkpoint does
    not give the model's size. `free_bytes` is what the run folder may take."""
    _check_names(config)
    _check_rules(config)
    _check_checkpoint(config, checkpoint)
    size = footprint(config.policy)
    check_family(config, size)
    _check_nodes(needs(config), machine)
    require_room(f"run {config.name}", needs(config), machine)
    _check_disk(config, free_bytes, size)


def check_measuring(config: RunConfig, machine: Machine, checkpoint: Path) -> None:
    """Raises ConfigError if a checkpoint cannot be measured here; nothing is trained."""
    _check_untrained("measuring", measuring(config), config, machine, checkpoint)


def check_drawing(config: RunConfig, machine: Machine, checkpoint: Path) -> None:
    """Raises ConfigError if a checkpoint cannot draw here at the setting at which it is measured."""
    _check_untrained("drawing", drawing(config), config, machine, checkpoint)


def _check_untrained(
    what: str, roles: list[Need], config: RunConfig, machine: Machine, checkpoint: Path
) -> None:
    _check_names(config)
    _check_checkpoint(config, checkpoint)
    check_family(config, footprint(config.policy))
    _check_measured(config)
    _check_nodes(roles, machine)
    require_room(what, roles, machine)


def check_family(config: RunConfig, size: Footprint) -> None:
    """Raises ConfigError for options, conditions, adapters, engines or GPUs that the family does not
    have."""
    check_engines(config, size)
    family, rank = config.policy.family, config.trainer.lora_rank
    policy = policy_class(config.policy)
    chances = dict(config.reconstruction.condition_dropout.items())
    require_conditions(family, policy.conditions, chances)
    sampled = [rollout_sampling(config.solver, k) for k in range(config.solver.rollouts)]
    require_options(family, policy.picture_options, sampled, "solver.")
    if rank and not size.adapter:
        raise ConfigError(
            f"trainer.lora_rank is {rank}: family {family} has no adapters: set it to 0"
        )
    if rank and not importlib.util.find_spec("peft"):
        raise ConfigError(
            f"trainer.lora_rank is {rank}, which needs peft: pip install 'unicorn-ray[lora]', or "
            "set it to 0 to learn all weights"
        )
    if config.evaluation.tasks:
        _check_measured(config)
    for need in needs(config):
        sampled_here = need.actor in SAMPLING and getattr(config, need.actor).engine == "own"
        if sampled_here and need.gpus and "cuda" not in size.devices:
            raise ConfigError(
                f"{need.actor}.gpus is {need.gpus:g}: family {family} samples on CPU only: set "
                f"{need.actor}.gpus to 0"
            )


def _check_measured(config: RunConfig) -> None:
    """Whether the family can draw at the setting at which versions are measured."""
    known = policy_class(config.policy).picture_options
    require_options(config.policy.family, known, [fixed_sampling(config)], "evaluation.")


def this_machine() -> Machine:
    """Returns the CPUs and GPUs that a Ray started on this machine would count."""
    return Machine(machine_cpus(), float(torch.cuda.device_count()))


def machine_cpus() -> float:
    """Returns the number of processors, or the container's limit if that is lower."""
    cpus = float(os.cpu_count() or 1)
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.exists():
        quota, period = limit.read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1.0, int(quota) // int(period)))
    return cpus


def room(folder: StoragePath) -> float:
    """Returns the bytes that the run in `folder` has already or may still take of its disk; a
    bucket is never full. Raises ConfigError where that cannot be told."""
    try:
        here, free = storage.local_path(folder), storage.free_bytes(folder)
        if here is None or free is None:
            return math.inf
        return free + sum(file.stat().st_size for file in here.rglob("*") if file.is_file())
    except OSError as error:
        raise ConfigError(
            f"the run folder {folder} cannot be looked at ({error.strerror}); give a folder=... "
            "that can be written to"
        ) from error


def _check_names(config: RunConfig) -> None:
    load_templates(config.actors.templates)
    load_suite(config.evaluation.suite)


def _check_rules(config: RunConfig) -> None:
    """Whether the templates have what the settings ask for, and files from outside can be read."""
    name, own = config.actors.templates, config.proposer
    templates = load_templates(name)
    load_outside(own, templates.categories)
    if own.personas and not templates.takes_personas:
        raise ConfigError(
            f"proposer.personas is {own.personas!r}: the templates {name!r} have no place for a "
            "persona: use others, or leave the field empty"
        )
    require_filters(config.judge.hygiene)
    rules = config.reconstruction
    for field, needs_it, entry, usual in (
        ("reflection_judgement", not rules.reflection_judgement, "repair", "true"),
        ("caption_wording", rules.caption_wording == "infer", "infer", '"any"'),
    ):
        if needs_it and not templates.variants(entry):
            raise ConfigError(
                f"reconstruction.{field} is {getattr(rules, field)!r}: the templates {name!r} lack "
                f"the instruction {entry}: use others, or set it to {usual}"
            )


def _check_checkpoint(config: RunConfig, checkpoint: Path) -> None:
    if not is_checkpoint(checkpoint):
        raise ConfigError(
            f"policy.path is {config.policy.path!r} of family {config.policy.family!r}: there is "
            f"no checkpoint in {checkpoint} (none of {', '.join(WEIGHTS)}); give the folder of one, or "
            '"base" in a complete clone'
        )


def _check_nodes(those: list[Need], machine: Machine) -> None:
    for need in those:
        if need.node and math.isfinite(machine.cpus):
            field = f"{need.actor.split()[0]}.node"
            raise ConfigError(
                f"{field} is {need.node!r}: Ray on this machine alone offers no such resource; "
                "leave the field empty, or name a cluster with RAY_ADDRESS"
            )


def _check_disk(config: RunConfig, free: float, size: Footprint) -> None:
    need = memory.disk(config, size)
    if need.total <= free:
        return
    rounds, prompts, rollouts = config.rounds, config.proposer.prompts, config.solver.rollouts
    raise ConfigError(
        f"{run_folder(config)} needs up to {_mib(need.total)} and its disk has "
        f"{_mib(free)} for it: replay {_mib(need.replay)} ({rounds} rounds x {prompts} prompts x "
        f"{rollouts} drawings x {size.drawing_bytes // 1024} KiB), versions {_mib(need.versions)} "
        f"({rounds} x {_mib(need.versions // rounds)} of weights), checkpoints "
        f"{_mib(need.checkpoints)} ({need.kept} x {memory.COPIES_A_CHECKPOINT} x what is trained), "
        f"report {_mib(memory.REPORT_BYTES)}; free some, or give folder=... on another disk, or "
        "lower rounds or proposer.prompts"
    )


def _mib(size: float) -> str:
    return f"{size / MIB:,.0f} MiB"
