"""Sheets drawn by real pools: what is drawn once, what is gone on with, and what follows from places."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.config import SolverConfig
from evaluation.config import EvaluationConfig
from evaluation.layouts.drawing import Counts, SheetBench, runs
from evaluation.layouts.folder import PictureFolder
from evaluation.layouts.sheet import Sheet
from policies.seeds import derive
from tests.evaluation.rules import Settings
from tests.evaluation.tasks.echo import FAILS, SHAPE, Actors

SIZE = 3
SETTINGS = Settings(
    "run", "", evaluation=EvaluationConfig(prompts_per_task=SIZE), solver=SolverConfig()
)
PROMPTS = [f"prompt {number}" for number in range(8)]
SINGLE = [
    Sheet(prompt, (f"{n}/0.png", f"{n}/1.png"), record=("all.jsonl", str(n)))
    for n, prompt in enumerate(PROMPTS)
]
GRIDS = [Sheet(prompt, (f"{n}.png",), (2, 2)) for n, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def actors(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Actors:
    return Actors([], tmp_path_factory.mktemp("actors"))


def draw(
    actors: Actors, folder: Path, sheets: list[Sheet], replicas: int = 1
) -> tuple[Counts, Counter[str]]:
    """What is there, and how often each prompt was drawn for it."""

    async def run() -> Counts:
        async with actors.pools(replicas) as (solvers, _):
            bench = SheetBench(SETTINGS, PictureFolder(folder), solvers, lambda _: None)
            return await bench.run(sheets)

    before = actors.done()
    counts = asyncio.run(run())
    done = actors.done() - before
    return counts, Counter({prompt: times for (_, prompt), times in done.items()})


def files(folder: Path) -> dict[str, bytes]:
    images = folder / "images"
    return {
        str(each.relative_to(images)): each.read_bytes()
        for each in images.rglob("*")
        if each.is_file()
    }


def tiles(folder: Path, sheet: Sheet) -> list[tuple[str, int]]:
    """The prompt and the seed of each picture, in its order: an Echo draws them as letters."""
    found = []
    for file in sheet.files:
        with Image.open(folder / "images" / file) as image:
            whole = np.asarray(image)
        columns, rows = sheet.grid
        for row in np.split(whole, rows, 0):
            for tile in np.split(row, columns, 1):
                assert tile.shape == SHAPE
                found.append(tuple(json.loads(tile.tobytes())))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sheets", [SINGLE, GRIDS])
def test_every_picture_is_drawn_once_with_the_seed_of_its_place(
    actors: Actors, tmp_path: Path, sheets: list[Sheet]
) -> None:
    count = sheets[0].count
    counts, done = draw(actors, tmp_path, sheets)
    assert counts == Counts(8 * count, 8 * count)
    assert done == dict.fromkeys(PROMPTS, count)
    for place, sheet in enumerate(sheets):
        number, row = divmod(place, SIZE)
        seeds = [derive(5, 0, "evaluator", number * count + k, row) for k in range(count)]
        assert tiles(tmp_path, sheet) == [(sheet.prompt, seed) for seed in seeds]
    kept = {file for sheet in sheets for file in sheet.files}
    assert set(files(tmp_path)) - {"all.jsonl"} == kept
    assert draw(actors, tmp_path, sheets) == (counts, Counter())


@pytest.mark.parametrize("sheets", [SINGLE, GRIDS])
def test_what_is_missing_is_drawn_again_alike_and_nothing_else(
    actors: Actors, tmp_path: Path, sheets: list[Sheet]
) -> None:
    draw(actors, tmp_path, sheets)
    before = files(tmp_path)
    missing = [(0, 0), (2, 0), (4, 0), (5, 0)] + [(4, 1)] * (len(sheets[0].files) > 1)
    for place, nth in missing:
        (tmp_path / "images" / sheets[place].files[nth]).unlink()
    _, done = draw(actors, tmp_path, sheets, replicas=3)
    assert files(tmp_path) == before
    wanted = Counter(sheets[place].prompt for place, _ in missing)
    assert done == {prompt: times * sheets[0].tiles for prompt, times in wanted.items()}


def test_three_solvers_and_a_limit_that_grows_draw_the_same(actors: Actors, tmp_path: Path) -> None:
    draw(actors, tmp_path / "one", SINGLE)
    draw(actors, tmp_path / "three", SINGLE[:4], replicas=3)
    assert len(files(tmp_path / "three")) == 4 * 2 + 1
    draw(actors, tmp_path / "three", SINGLE, replicas=3)
    assert files(tmp_path / "three") == files(tmp_path / "one")


def test_what_failed_is_black_and_counted(actors: Actors, tmp_path: Path) -> None:
    counts, _ = draw(actors, tmp_path, [GRIDS[0], Sheet(FAILS, ("failed.png",), (2, 2))])
    assert (counts.there, counts.failed) == (8, 4)
    with Image.open(tmp_path / "images" / "failed.png") as image:
        assert not np.asarray(image).any()


@pytest.mark.parametrize(
    ("there", "found"),
    [("", []), ("111", []), ("000", [range(3)]), ("0110010", [range(1), range(3, 5), range(6, 7)])],
)
def test_what_is_missing_in_a_row_is_drawn_together(there: str, found: list[range]) -> None:
    assert list(runs([each == "1" for each in there])) == found
