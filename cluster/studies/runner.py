"""Does the runs of a study, one after another, in one Ray.

Invariant: each is an ordinary run, done by `cluster.api.run` in its own folder, so a study that was killed
goes on where it was: what is done is not done again, and what was begun goes on. Table and plot are
written anew after each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from actors.storage import storage
from actors.storage.paths import StoragePath, run_folder
from actors.weights.version_folder import VersionFolder
from cluster import api, checks, evaluate
from cluster.recipes.recipe import claim_folder
from cluster.session import ray_session
from cluster.session.driver import driving
from cluster.studies.measured import apart, base_apart, borrow_base, mark, marked
from cluster.studies.plan import DONE, Step, check, steps
from cluster.studies.plot import plot
from cluster.studies.results import results
from cluster.studies.study import Arm, Study
from cluster.studies.table import table
from cluster.watch.progress import Progress
from policies.config import changed
from policies.graft import graft
from policies.registry import load_policy
from trainer.config import RunConfig

TABLE, RESULTS, PLOT = "table.md", "results.json", "plot.svg"


def do(study: Study, note: Callable[[str], None]) -> StoragePath:
    """Does what is left, and returns the table. Raises UserError."""
    checks.no_event_loop()
    check(study, planned := steps(study))
    with driving(study.folder, note):
        left = [step for step in planned if step.state != DONE]
        note(
            f"study {study.name}: {len(planned) - len(left)} of {len(planned)} done, in {study.folder}"
        )
        if left:
            with ray_session.connected():
                for number, step in enumerate(left, len(planned) - len(left) + 1):
                    note(f"study {study.name}: {number} of {len(planned)}, {step.name}")
                    _do(study, step)
                    write(study)
        return write(study)


def write(study: Study) -> StoragePath:
    """Writes table, results and plot of what is done so far; returns the table's file."""
    found = results(study)
    for name, text in (
        (RESULTS, json.dumps(found, indent=1) + "\n"),
        (PLOT, plot(found)),
        (TABLE, table(found)),
    ):
        storage.write(study.folder / name, text.encode())
    return study.folder / TABLE


def _do(study: Study, step: Step) -> None:
    arm, seed = step.arm, step.seed
    if not arm.fields.graft:
        config = study.run(arm, seed)
        claim_folder(config)
        borrow_base(study, config)
        api.run(config, gallery="off")
        mark(config)
    if arm.measured_apart:
        _measure_apart(study, arm, seed)


def _measure_apart(study: Study, arm: Arm, seed: int) -> None:
    """Measures the last version as any checkpoint is, and the base too where its run did not."""
    source = study.arm(arm.fields.graft) if arm.fields.graft else arm
    run = study.run(source, seed)
    last = VersionFolder(run_folder(run).absolute(), run.policy).path(run.rounds)
    trained = changed(run.policy, path=str(last))
    if not arm.fields.graft:
        base = base_apart(study, arm, seed)
        borrow_base(study, base)
        _measure(base, run.policy.path)
        _measure(apart(study, arm, seed), trained.path)
        return
    folder = run_folder(apart(study, arm, seed)).absolute() / "checkpoint"
    grafted = load_policy(trained)
    graft(grafted, load_policy(run.policy))
    grafted.save_pretrained(Path(str(folder)))
    _measure(apart(study, arm, seed), str(folder))


def _measure(config: RunConfig, weights: str) -> None:
    if marked(config):
        return
    storage.make_folder(run_folder(config).absolute())
    measured = changed(config, policy=changed(config.policy, path=weights),
                       folder=str(run_folder(config).absolute().parent))  # fmt: skip
    evaluate.kept_scores(measured, Progress(sys.stdout))
    mark(config)
