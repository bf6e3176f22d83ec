"""What is done about a store that hangs, and about a version that is gone: real actors."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from actors.config import ActorsConfig
from actors.replay.buffer import ReplayUnwritable
from actors.weights.version_folder import VersionDamaged, VersionFolder
from policies.config import TinyPolicyConfig
from trainer import run_actors, stores
from trainer.stores import Stores

PATIENCE = 240.0


def test_a_version_that_was_deleted_is_named_once_training_is_over(tmp_path: Path) -> None:
    folder = VersionFolder(tmp_path / "run", TinyPolicyConfig())
    (tmp_path / "run" / "versions" / "00002").mkdir(parents=True)

    async def versions() -> list[int]:
        return folder.versions()

    weights: Any = SimpleNamespace(versions=SimpleNamespace(remote=versions))
    own = Stores(None, weights, folder, ActorsConfig(), print)

    async def story() -> None:
        asked = asyncio.create_task(own.version_ready(1))
        await own.version_ready(2)
        await asyncio.sleep(0.5)
        assert not asked.done()
        own.training_over = True
        await own.version_ready(2)
        await asyncio.wait_for(asked, PATIENCE)

    with pytest.raises(VersionDamaged, match=r"run/versions/00001 is missing .*restore it"):
        asyncio.run(story())


def test_a_slice_is_stored_before_it_counts_however_often_the_log_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "WATCH_S", 0.01)
    asked: list[Any] = []
    said: list[str] = []

    async def append(*slice_: Any) -> None:
        asked.append(slice_)
        if len(asked) < 3:
            raise ReplayUnwritable("no room")

    replay: Any = SimpleNamespace(append=SimpleNamespace(remote=append))
    nothing: Any = None
    own = Stores(replay, nothing, nothing, ActorsConfig(), said.append)
    asyncio.run(own.store_slice(1, 4, ["a group"]))
    assert asked == [(1, 4, ["a group"])] * 3
    assert said == ["no room", "no room", ""]


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


@pytest.mark.slow
def test_a_store_that_hangs_is_ended_while_those_who_asked_still_wait(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a task may take."""
    monkeypatch.setattr(run_actors, "ANSWER_S", 20.0)
    seen: list[str] = []
    store = Store.remote(str(tmp_path / "began"))

    def on_event(who: str, what: str, **facts: Any) -> None:
        seen.append(f"{who} {what}")

    async def story() -> list[int]:
        longest = ActorsConfig().task_deadline
        assert longest > PATIENCE
        guard = asyncio.create_task(run_actors.guard(store, "weight store", longest, on_event))
        asked = await asyncio.wait_for(store.versions.remote(), PATIENCE)
        guard.cancel()
        return asked

    assert asyncio.run(story()) == [0] and seen[0] == "weight store silent"
    ray.kill(store)
