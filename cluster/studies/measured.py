"""Where the measurements of a study's arms are, and which runs are done.

Invariant: a run counts as done only when its mark was written, which is the last thing that is done of
it, and when its mark is of this very run. The base is measured once for all arms that measure it alike.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from actors.storage import storage
from actors.storage.paths import StoragePath, run_folder
from cluster.recipes.recipe import config_digest
from cluster.studies.study import Arm, Study, run_name
from evaluation import best_setting, twins
from evaluation.kept import Found, read, version_file
from policies.config import changed
from trainer.config import RunConfig

MARK = "done.json"
APART = "measured"
KINDS = ("version", best_setting.KIND, twins.KIND)
LEARNING = {"name", "folder", "rounds", "lag", "proposer", "reconstruction", "trainer"}
"""Settings that nothing which is measured of the base depends on."""


class Place(NamedTuple):
    """A version of a run's folder."""

    folder: StoragePath
    version: int

    def found(self, kind: str = "version") -> Found | None:
        """What was measured of it, if it was."""
        file = version_file(self.folder, self.version, kind)
        return read(file) if storage.exists(file) else None


class Ends(NamedTuple):
    base: Place
    last: Place


def ends(study: Study, arm: Arm, seed: int) -> Ends:
    """What an arm's gain with this seed is between."""
    source = study.arm(arm.fields.graft) if arm.fields.graft else arm
    run = study.run(source, seed)
    own = Ends(Place(run_folder(run), 0), Place(run_folder(run), run.rounds))
    if not arm.measured_apart:
        return own
    last = Place(run_folder(apart(study, arm, seed)), 0)
    if arm.fields.graft:
        return Ends(own.base, last)
    return Ends(Place(run_folder(base_apart(study, arm, seed)), 0), last)


def apart(study: Study, arm: Arm, seed: int) -> RunConfig:
    """How the last version of an arm that is measured apart is measured."""
    return changed(study.measuring(arm, seed), folder=str(study.folder / APART))


def base_apart(study: Study, arm: Arm, seed: int) -> RunConfig:
    """Likewise what it began with."""
    return changed(apart(study, arm, seed), name=f"base-of-{run_name(arm, seed)}")


def borrow_base(study: Study, config: RunConfig) -> None:
    """Puts into a run's folder what a run of the study that is done has measured of the base, if this one
    would find the same."""
    runs = [study.run(arm, config.seed) for arm in study.arms if not arm.fields.graft]
    for lender in (run for run in runs if marked(run) and _measures_alike(run, config)):
        for kind in KINDS:
            source, own = (version_file(run_folder(each), 0, kind) for each in (lender, config))
            if storage.exists(source) and not storage.exists(own):
                storage.write(own, storage.read(source))


def _measures_alike(one: RunConfig, other: RunConfig) -> bool:
    return one.model_dump(exclude=LEARNING) == other.model_dump(exclude=LEARNING)


def mark(config: RunConfig) -> None:
    """Notes that all was done that this configuration asks for."""
    seal = json.dumps({"config": config_digest(config)}) + "\n"
    storage.write(run_folder(config) / MARK, seal.encode())


def marked(config: RunConfig) -> bool:
    file = run_folder(config) / MARK
    if not storage.exists(file):
        return False
    try:
        found: object = json.loads(storage.read(file))["config"]
    except (ValueError, KeyError, TypeError):
        return False
    return found == config_digest(config)


def done(study: Study, arm: Arm, seed: int) -> bool:
    """Whether there is nothing left to do of it, its measurements included."""
    trained = bool(arm.fields.graft) or marked(study.run(arm, seed))
    measured = not arm.measured_apart or marked(apart(study, arm, seed))
    return trained and measured and ends(study, arm, seed).last.found() is not None
