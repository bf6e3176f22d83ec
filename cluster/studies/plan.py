"""What a study would do: which of its runs are left, and what they need.

Invariant: whatever can be refused of any of them is refused before the first one starts, and nothing is
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from actors.storage import storage
from actors.storage.paths import run_folder
from cluster import checks
from cluster.recipes import recipe, yaml12
from cluster.sizing import dry_run, memory, preflight
from cluster.studies.measured import apart, done
from cluster.studies.study import Arm, Study, run_name
from evaluation.suites import load_suite
from policies.config import ConfigError
from policies.errors import UserError
from policies.registry import footprint

DONE, BEGUN, NEW = "done", "goes on", "to do"


@dataclass(frozen=True)
class Step:
    """One arm with one seed, and how far it is."""

    arm: Arm
    seed: int
    state: str

    @property
    def name(self) -> str:
        return run_name(self.arm, self.seed)


def steps(study: Study) -> list[Step]:
    """What is to be done, in order. Raises ConfigError where a folder holds something else."""
    return [Step(arm, seed, _state(study, arm, seed)) for arm, seed in study.runs()]


def check(study: Study, planned: Sequence[Step]) -> None:
    """Raises UserError if one of the runs could not be done here."""
    for arm in study.arms:
        if arm.measured_apart and storage.local_path(study.folder) is None:
            raise ConfigError(f"folder is {study.folder.parent}: arm {arm.name} is measured from a checkpoint's "
                              "folder: give a folder=... on a disk")  # fmt: skip
        config = (study.measuring if arm.measured_apart else study.run)(arm, study.fields.seeds[0])
        if not load_suite(config.evaluation.suite).categories:
            raise ConfigError(
                f"evaluation.suite is {config.evaluation.suite!r}: a study compares what is measured; "
                "give another one"
            )
        if not arm.fields.graft:
            with _named(arm):
                checks.preflight(study.run(arm, study.fields.seeds[0]))
    left = [study.run(s.arm, s.seed) for s in planned if s.state != DONE and not s.arm.fields.graft]
    need = sum(memory.disk(config, footprint(config.policy)).total for config in left)
    if need > (room := preflight.room(study.folder)):
        raise ConfigError(f"{study.folder}: {len(left)} runs need up to {need / 2**30:,.1f} GiB and its disk has "
                          f"{room / 2**30:,.1f} GiB for them: free some, give folder=... on another disk, or "
                          "fewer seeds")  # fmt: skip


def _state(study: Study, arm: Arm, seed: int) -> str:
    if not arm.fields.graft:
        begun = recipe.require_own(study.run(arm, seed))
    else:
        begun = storage.exists(run_folder(apart(study, arm, seed)))
    return DONE if done(study, arm, seed) else BEGUN if begun else NEW


def described(study: Study) -> Iterator[str]:
    """What `--dry-run` prints: each run with how far it is, what each arm changes, and what a run needs."""
    planned = steps(study)
    count = sum(step.state != DONE for step in planned)
    yield f"study {study.name}: {count} of {len(planned)} runs are left, in {study.folder}"
    width = max(len(step.name) for step in planned)
    yield from (f"  {step.name:<{width}}  {step.state}" for step in planned)
    yield ""
    yield from map(_arm, study.arms)
    seen = ""
    for arm in study.arms:
        if not arm.fields.graft:
            config = study.run(arm, study.fields.seeds[0])
            with _named(arm):
                table = dry_run.table(config, footprint(config.policy), checks.machine())
            needs = table.replace(str(run_folder(config)), "its folder")
            if needs != seen:
                yield from ("", f"a run of {arm.name} needs", needs)
            seen = needs


@contextmanager
def _named(arm: Arm) -> Iterator[None]:
    """Whoever reads of a refused recipe must know whose it is."""
    try:
        yield
    except UserError as error:
        raise ConfigError(f"arm {arm.name}: {error}") from error


def _arm(arm: Arm) -> str:
    changes = [f"recipe {arm.fields.recipe}"] * bool(arm.fields.recipe)
    changes += [f"{key}={yaml12.scalar(each.value)}" for key, each in arm.changes.items()]
    changes += [f"{role} by a server" for role in arm.fields.external]
    changes += [f"{arm.fields.graft} with the base's understanding parts"] * bool(arm.fields.graft)
    return f"  {arm.label}: {', '.join(changes) or 'as the recipe has it'}"
