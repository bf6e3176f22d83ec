"""Measures a checkpoint on its own, as a run measures its versions.

Invariant: nothing is learned; the same target with the same settings gives the scores that the run
had.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from actors.storage import storage
from actors.storage.paths import StoragePath
from actors.weights.version_folder import VERSIONS
from cluster.recipes import recipe
from cluster.watch.progress import Progress
from evaluation.best_setting import measure_best
from evaluation.measure import measure
from evaluation.passes import measure_passes
from evaluation.suites import load_suite
from evaluation.twins import measure_twins
from policies.config import ConfigError, changed
from policies.registry import WEIGHTS, is_checkpoint
from trainer.config import RunConfig
from trainer.run_actors import RunActors


def target(path: StoragePath, overrides: Sequence[str], by_suite: bool = True) -> RunConfig:
    """What to measure: a checkpoint folder, or the newest weights of a run; `by_suite`, it must have
    one. Raises ConfigError."""
    here = storage.local_path(path)
    if here is None:
        raise ConfigError(
            f"{path} can not be measured where it is: copy the run, or one of its {VERSIONS}, to a "
            "folder of this machine"
        )
    if recipe.is_run(here):
        config = recipe.load(here / recipe.CONFIG_FILE, overrides)
        newest = max((here / VERSIONS).glob("[0-9]*[0-9]"), default=None)
        weights = config.policy.path if newest is None else str(newest.absolute())
    elif is_checkpoint(here):
        config, weights = recipe.defaults(overrides), str(here.absolute())
    else:
        raise ConfigError(
            f"{path} can not be measured: it is no run (no {recipe.CONFIG_FILE}) and no checkpoint "
            f"(none of {', '.join(WEIGHTS)}); give the folder of one of them"
        )
    if by_suite and not load_suite(config.evaluation.suite).categories:
        raise ConfigError(
            f"evaluation.suite is {config.evaluation.suite!r}: nothing would be measured; give "
            "another evaluation.suite=..."
        )
    return changed(config, policy=changed(config.policy, path=weights))


@contextmanager
def aside(config: RunConfig) -> Iterator[RunConfig]:
    """The same run in a folder that goes with the context."""
    with tempfile.TemporaryDirectory(prefix="unicorn-") as folder:
        yield changed(config, folder=folder)


def scores(config: RunConfig, progress: Progress) -> dict[str, float]:
    """Needs a connected Ray."""
    with aside(config) as own:
        return kept_scores(own, progress)


def kept_scores(config: RunConfig, progress: Progress) -> dict[str, float]:
    """The same, and what was found of it stays in the run's folder, as that of a version 0. Needs a
    connected Ray."""
    return asyncio.run(_measure(config, progress))


async def _measure(config: RunConfig, progress: Progress) -> dict[str, float]:
    async with RunActors(config, progress) as run:
        measured_with = (run.config, run.suite, run.solvers, run.judges)
        values = await measure(0, *measured_with)
        for more in (measure_twins, measure_best, measure_passes):
            values |= await more(0, *measured_with)
        return values
