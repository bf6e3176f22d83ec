"""What the crew does about a store that hangs: real actors."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from actors.weights.version_folder import VersionDamaged
from trainer import run_actors
from trainer.config import RunConfig
from trainer.run_actors import RunActors

PATIENCE = 240.0


def make_crew(folder: Path, said: list[str]) -> RunActors:
    progress = SimpleNamespace(trouble=said.append)
    return RunActors(RunConfig(name="run", folder=str(folder)), progress)  # type: ignore[arg-type]


def test_a_version_that_was_deleted_is_named_once_training_is_over(tmp_path: Path) -> None:
    own = make_crew(tmp_path, [])
    (tmp_path / "run" / "versions" / "00002").mkdir(parents=True)

    async def versions() -> list[int]:
        return own.versions.versions()

    own.store = SimpleNamespace(versions=SimpleNamespace(remote=versions))

    async def story() -> None:
        asked = asyncio.create_task(own.version_ready(1))
        await own.version_ready(2)
        await asyncio.sleep(0.5)
        assert not asked.done()
        own.trained = True
        await own.version_ready(2)
        await asyncio.wait_for(asked, PATIENCE)

    with pytest.raises(VersionDamaged, match=r"run/versions/00001 is missing .*restore it"):
        asyncio.run(story())


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Store:
    """Hangs in its first life."""

    def __init__(self, began: str) -> None:
        self.hangs = not Path(began).exists()
        Path(began).touch()

    async def alive(self) -> None:
        pass

    async def versions(self) -> list[int]:
        time.sleep(600.0 * self.hangs)
        return [0]


def test_a_store_that_hangs_is_ended_while_those_who_asked_still_wait(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a task may take."""
    monkeypatch.setattr(run_actors, "ANSWER_S", 20.0)
    said: list[str] = []
    own = make_crew(tmp_path, said)
    store = Store.remote(str(tmp_path / "began"))

    async def story() -> list[int]:
        guard = asyncio.create_task(own._guard(store, "weight store"))
        asked = await asyncio.wait_for(store.versions.remote(), PATIENCE)
        guard.cancel()
        return asked

    assert own.config.actors.task_deadline > PATIENCE
    assert asyncio.run(story()) == [0] and said[0].startswith("weight store silent")
    ray.kill(store)
