"""Draws the prompts of a benchmark with a checkpoint, or a run's newest weights, for its official scorer.

Invariant: nothing is learned, and what draws never touches what it draws with: pictures go to a folder of
their own, where the same command goes on after a kill.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.replay.records import Role
from actors.storage.paths import StoragePath
from cluster import version
from cluster.evaluate import aside, target
from cluster.evaluate_task import beside
from cluster.recipes import recipe
from cluster.watch.progress import Progress
from evaluation.layouts import files as prompt_files
from evaluation.layouts import presets, registry
from evaluation.layouts.drawing import Counts, SheetBench, facts
from evaluation.layouts.folder import PictureFolder
from evaluation.layouts.sheet import Drawn, Layout, Sheet
from policies.registry import checkpoint_folder, files_digest
from trainer.config import RunConfig
from trainer.run_actors import RunActors

PLAYED: tuple[Role, ...] = ("solver",)


@dataclass(frozen=True)
class PictureRun:
    """Sheets that are ready to be drawn on `config`, which names the weights. `facts` are what the
    pictures follow from."""

    layout: Layout
    sheets: Sequence[Sheet]
    files: tuple[Path, ...]
    model: str
    config: RunConfig
    folder: PictureFolder
    facts: Mapping[str, Any]


def ready(
    benchmark: str, path: StoragePath, overrides: Sequence[str], prompts: str = "", preset: str = "",
    output: str = "", limit: int | None = None,
) -> PictureRun:  # fmt: skip
    """Reads all that drawing needs, and leaves nothing behind. Raises UserError."""
    layout = registry.load(benchmark)
    config = target(path, [*presets.overrides(preset, benchmark), *overrides], by_suite=False)
    files = layout.files(Path(prompts) if prompts else None)
    model = _model(path, config)
    sheets = layout.sheets(files, model)
    weights = files_digest(config.policy)
    where = Path(output) if output else beside(path, config, f"{benchmark}-drawings")
    folder = PictureFolder(where.absolute(), config.actors.pause_deadline)
    found = facts(
        benchmark, prompt_files.digest(files), model, weights, preset, version.program(), config
    )
    return PictureRun(layout, sheets[:limit], files, model, config, folder, found)


def pictures(run: PictureRun, progress: Progress) -> Counts:
    """Draws what is missing. Needs a connected Ray."""
    with aside(run.config) as config:
        return asyncio.run(_pictures(run, config, progress))


async def _pictures(run: PictureRun, config: RunConfig, progress: Progress) -> Counts:
    async with RunActors(config, progress, roles=PLAYED) as actors:
        bench = SheetBench(config, run.folder, actors.solvers, progress.note)
        return await bench.run(run.sheets)


def told(run: PictureRun, counts: Counts) -> list[str]:
    """Where the pictures are, and what a person types in a checkout of the benchmark to score them."""
    first = run.sheets[0]
    width, _ = run.folder.size(first.files[0])
    drawn = Drawn(run.folder.images, run.model, width // first.grid[0], run.files)
    failed = f", of which {counts.failed} drawn now show nothing" if counts.failed else ""
    return [
        f"{counts.there} pictures{failed} are in {run.folder.images}",
        "to score them, in a checkout of the benchmark (docs/benchmarks.md):",
        *(f"  {line}" for line in run.layout.scorer(drawn)),
    ]


def _model(path: StoragePath, config: RunConfig) -> str:
    """What a scorer calls who drew: a checkpoint's folder, of a run with the version's."""
    here = Path(str(path)).absolute()
    names = (
        [here.name, checkpoint_folder(config.policy).name] if recipe.is_run(here) else [here.name]
    )
    return re.sub(r"[^A-Za-z0-9._-]", "-", "-".join(names))
