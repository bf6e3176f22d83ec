"""The program as a library, for a notebook or a script: run, load_run, read_rounds, load_policy.

Invariant: the commands do their work by these functions, so a run that is begun here and one that
is begun on the command line are the same, and each goes on with the other.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.storage.paths import StoragePath, parse_path, run_folder
from cluster import checks
from cluster.session import ray_session
from policies.config import ConfigError, changed

if TYPE_CHECKING:
    import pyarrow as pa

    from actors.replay.records import JudgedGroup
    from cluster.gallery.address import GalleryAddress
    from cluster.watch.progress import Progress
    from evaluation.tasks.ready import ReadyTask
    from policies.interface import Policy
    from trainer.config import RunConfig

ANY_PORT = "127.0.0.1:0"

# Ray reads it when it is imported, which a notebook may do before it begins a run.
ray_session.settle()


@dataclass(frozen=True)
class RunFolder:
    """A run that was begun, finished or not, as its folder holds it."""

    path: StoragePath
    config: RunConfig

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl in the order in which they were added: `kind` "evaluation" and
        "task" with their `version`; "round" (the audit), "planted" (the Judge on planted pairs) and "proposals"
        with their `round`."""
        from evaluation.metrics import read_metrics

        return read_metrics(self.path)


@dataclass(frozen=True)
class ReplayRound:
    """One round of the replay log. Nothing is read before it is asked for, and all that is read was
    verified against its checksum."""

    number: int
    files: tuple[StoragePath, ...]

    def groups(self) -> Iterator[JudgedGroup]:
        """Its judged groups in order, one file in memory at a time. Raises SegmentError."""
        from actors.replay.segments import read_segment

        for file in self.files:
            yield from read_segment(file)

    def table(self) -> pa.Table:
        """The same as one Arrow table with the columns of docs/replay-log.md. Raises SegmentError."""
        import pyarrow as pa

        from actors.replay.segments import read_table

        # Each file's metadata name its own slice.
        return pa.concat_tables(
            read_table(file).replace_schema_metadata(None) for file in self.files
        )


def run(recipe: str | Path | RunConfig, *overrides: str, gallery: str = ANY_PORT) -> RunFolder:
    """Does a recipe, or goes on with the run that it began, and returns its folder when it has
    finished: `run("configs/tiny.yaml", "rounds=3")`. Progress goes to the standard output. Raises
    UserError."""
    checks.no_event_loop()
    config, tasks, address = _ready(recipe, overrides, gallery)

    from trainer import selfplay

    with _surroundings(config, address) as (own, progress):
        selfplay.run(own, progress, tasks)
    return load_run(run_folder(config))


async def run_async(
    recipe: str | Path | RunConfig, *overrides: str, gallery: str = ANY_PORT
) -> RunFolder:
    """`run` for an event loop that runs already, as in a notebook. When it is cancelled, the run ends
    with a checkpoint, and the same call goes on."""
    config, tasks, address = _ready(recipe, overrides, gallery)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        loop.call_soon_threadsafe(task.cancel)

    from trainer import selfplay

    with _surroundings(config, address, interrupt) as (own, progress):
        await selfplay.selfplay(own, progress, tasks)
    return load_run(run_folder(config))


def load_run(folder: str | StoragePath) -> RunFolder:
    """The run in `folder`. Raises ConfigError where there is none."""
    from cluster.recipes import recipe

    path = parse_path(folder).absolute()
    return RunFolder(path, recipe.load_folder(path))


def read_rounds(run: RunFolder | str | StoragePath) -> list[ReplayRound]:
    """The rounds of a run's replay log so far, in order; the last may still be growing."""
    from actors.replay.segments import SegmentName
    from actors.storage import storage

    replay = (run if isinstance(run, RunFolder) else load_run(run)).path / "replay"
    found: dict[int, list[SegmentName]] = {}
    for name in filter(None, map(SegmentName.parse, storage.files(replay))):
        found.setdefault(name.round, []).append(name)
    return [
        ReplayRound(number, tuple(n.path for n in sorted(found[number], key=lambda n: n.index)))
        for number in sorted(found)
    ]


def load_policy(path: str | Path = "base", family: str = "tiny") -> Policy:
    """The model in a checkpoint folder, such as runs/tiny/versions/00006, on the CPU; "base" is the
    one that ships with the family. Raises ConfigError or CheckpointError."""
    from policies import registry
    from trainer.config import RunConfig

    chosen = RunConfig.model_validate({"policy": {"family": family, "path": str(path)}})
    return registry.load_policy(chosen.policy)


def _ready(
    asked: str | Path | RunConfig, overrides: tuple[str, ...], gallery: str
) -> tuple[RunConfig, list[ReadyTask], GalleryAddress | None]:
    """The configuration and the tasks that it names, with its folder made and all refused that can be
    before Ray starts."""
    from cluster.recipes import recipe

    if isinstance(asked, str | Path):
        asked = recipe.load(asked, overrides)
    elif overrides:
        raise ConfigError(
            f"{', '.join(overrides)} cannot be set: overrides are for a recipe's file"
        )
    tasks = checks.preflight(asked)
    address = checks.gallery_address(gallery)
    recipe.claim_folder(asked)
    return asked, tasks, address


@contextmanager
def _surroundings(
    config: RunConfig,
    address: GalleryAddress | None,
    interrupt: Callable[[], None] | None = None,
) -> Iterator[tuple[RunConfig, Progress]]:
    """All that is around the loop of a run: its lock, loggers, Ray and the gallery; after it, the
    report. Gives the configuration with an absolute folder, and who is told of progress."""
    from cluster.gallery import host
    from cluster.report import page
    from cluster.session.driver import driving
    from cluster.sizing.needs import needs
    from cluster.watch import loggers
    from cluster.watch.progress import Progress

    progress = Progress(sys.stdout)
    progress.started(config)
    # Workers have working directories of their own.
    folder = run_folder(config).absolute()
    with (
        driving(folder, progress.note),
        loggers.following(folder, config.name, config.loggers),
        ray_session.connected(interrupt),
    ):
        checks.capacity(f"run {config.name}", needs(config))
        with host.beside(folder, address, progress.note):
            yield changed(config, folder=str(folder.parent)), progress
    progress.finished(run_folder(config) / page.write(folder).name)
