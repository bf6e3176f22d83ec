"""A disk without room makes a run wait, and loses nothing: a real disk, filled."""

from __future__ import annotations

import asyncio
import errno
import itertools
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from actors import retry
from actors.config import ActorsConfig
from actors.replay.buffer import ReplayBuffer, ReplayBufferActor, ReplayFull
from actors.retry import patiently
from actors.weights.digests import weights_digest
from actors.weights.store import WeightStoreActor, publish
from actors.weights.version_folder import VersionFolder
from evaluation.metrics import append_metrics
from policies.config import TinyPolicyConfig
from tests.actors.replay.replay_samples import PATIENCE, expected, prompts, slice_of
from tests.trainer.small import TRAINER, save_small_policy, small_policy
from trainer import checkpoint, stores
from trainer.checkpoint import Cursor
from trainer.config import RunConfig
from trainer.journal import Journal
from trainer.learner import Learner
from trainer.reporting import Reporter
from trainer.stores import NOTHING, Stores


def fill(disk: Path, left: int = 0) -> Path:
    """A file that takes all room but `left` bytes."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        for _ in itertools.count():
            file.write(bytes(4096))
    with ballast.open("ab") as file:
        file.truncate(max(0, ballast.stat().st_size - left))
    return ballast


def while_full(disk: Path, work: Callable[[], object], left: int = 0) -> None:
    """`work` waits as long as there is no room but for `left` bytes, and not longer."""
    ballast = fill(disk, left)
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    ballast.unlink()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PAUSE_S", 0.05)


@pytest.mark.parametrize("left", [0, 16384, 65536])
@pytest.mark.parametrize("small_disk", ["8m"], indirect=True)
def test_a_checkpoint_waits_for_room(quick: None, small_disk: Path, left: int) -> None:
    """Also where room ends within a file: torch then raises an error that is not the disk's."""
    folder, learner = small_disk / "checkpoints", Learner(small_policy(), TRAINER)
    while_full(
        small_disk,
        lambda: checkpoint.save(folder, learner, Cursor(1, 1, 1, 1, 0), {}, 2, PATIENCE),
        left,
    )
    found = checkpoint.latest(folder)
    assert found is not None and found.cursor.step == 1


def test_the_journal_waits_for_room_and_has_no_torn_line(quick: None, small_disk: Path) -> None:
    journal = Journal(small_disk / "train.jsonl", PATIENCE)
    journal.add({"step": 1, "text": "x" * 3000})
    while_full(small_disk, lambda: journal.add({"step": 2, "text": "y" * 3000}))
    lines = (small_disk / "train.jsonl").read_text().splitlines()
    assert [line[:11] for line in lines] == ['{"step": 1,', '{"step": 2,']


def test_dropping_lines_of_the_journal_waits_for_room(quick: None, small_disk: Path) -> None:
    journal = Journal(small_disk / "train.jsonl", PATIENCE)
    for step in (1, 2, 3):
        journal.add({"step": step, "text": "x" * 3000})
    while_full(small_disk, lambda: journal.rewind(2))
    last = journal.last()
    assert last is not None and last["step"] == 2


@pytest.mark.parametrize("small_disk", ["8m"], indirect=True)
def test_old_checkpoints_are_deleted_once_the_disk_can_be_written_to(
    quick: None, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, learner = small_disk / "checkpoints", Learner(small_policy(), TRAINER)
    checkpoint.save(folder, learner, Cursor(1, 1, 1, 1), {}, 1, PATIENCE)
    finish = checkpoint._finish

    def finish_and_close(*args: Any) -> None:
        finish(*args)
        remount(small_disk, "ro")

    monkeypatch.setattr(checkpoint, "_finish", finish_and_close)
    saving = threading.Thread(
        target=lambda: checkpoint.save(folder, learner, Cursor(1, 1, 2, 2), {}, 1, PATIENCE)
    )
    saving.start()
    newest = folder / Cursor(1, 1, 2, 2).name
    while not newest.exists():
        time.sleep(0.05)
    time.sleep(0.5)
    assert saving.is_alive()
    remount(small_disk, "rw")
    saving.join(PATIENCE)
    assert list(folder.iterdir()) == [newest]


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def test_patience_ends_with_what_was_waited_for(quick: None, small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(
        TimeoutError,
        match=r"waited 0.2 s \(actors.pause_deadline\) for a place to store a letter .*mend that",
    ):
        patiently(lambda: (small_disk / "a").write_bytes(bytes(9000)), "a letter", 0.2)


@pytest.mark.parametrize("what", ["journal", "checkpoint", "metrics", "weights"])
def test_no_wait_for_a_disk_is_longer_than_the_run_allows(
    quick: None, small_disk: Path, what: str
) -> None:
    write: dict[str, Callable[[float], object]] = {
        "journal": lambda seconds: Journal(small_disk / "train.jsonl", seconds).add({"step": 1}),
        "checkpoint": lambda seconds: checkpoint.save(
            small_disk / "checkpoints", Learner(small_policy(), TRAINER), Cursor(), {}, 2, seconds
        ),
        "metrics": lambda seconds: append_metrics(small_disk, {"kind": "a", "round": 1}, seconds),
        "weights": lambda seconds: publish({}, 1, FullStore(), seconds),
    }
    fill(small_disk)
    with pytest.raises(
        TimeoutError, match=r"waited 0.2 s \(actors.pause_deadline\) for a place to store"
    ):
        write[what](0.2)


class FullStore:
    """The store of a full disk, in this process."""

    def __init__(self) -> None:
        self.publish = self

    def remote(self, *args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("close", "said"),
    [
        (fill, "takes no writes (No space left on device); make room"),
        (
            lambda disk: remount(disk, "ro"),
            "takes no writes (Read-only file system); make it writable",
        ),
    ],
)
def test_a_run_tells_of_a_disk_that_takes_no_writes(
    small_disk: Path, close: Callable[[Path], object], said: str
) -> None:
    said_so: list[str] = []
    config = RunConfig(name="run", folder=str(small_disk))
    progress: Any = SimpleNamespace(trouble=said_so.append)
    folder = small_disk / "run"
    folder.mkdir()
    report = Reporter(config, folder, progress)
    asyncio.run(report.training(no_groups))
    assert said_so == []
    close(small_disk)
    asyncio.run(report.training(no_groups))
    assert said_so == [f"paused: the disk of {folder} {said}"]


def replay_store(disk: Path, config: ActorsConfig, on_pause: Callable[[str], None]) -> Stores:
    """With a real replay buffer, and nothing beside it."""
    nothing: Any = None
    replay = ReplayBufferActor.remote(str(disk / "replay"))
    return Stores(replay, nothing, nothing, config, on_pause)


async def no_groups(round_: int, margin: float) -> dict[str, int]:
    return NOTHING


@pytest.mark.slow
def test_a_run_says_that_it_is_paused_and_goes_on_when_there_is_room(
    ray_cluster: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "WATCH_S", 0.1)
    said: list[str] = []
    own = replay_store(small_disk, ActorsConfig(task_deadline=60), said.append)

    async def story() -> None:
        await own.store_slice(1, 0, slice_of(0, side=64))
        ballast = fill(small_disk)
        storing = asyncio.create_task(own.store_slice(1, 1, slice_of(1, side=64)))
        async with asyncio.timeout(PATIENCE):
            while not any(said):
                await asyncio.sleep(0.05)
        assert not storing.done()
        ballast.unlink()
        await storing
        await own.close_round(1, 2)

    asyncio.run(story())
    assert f"replay folder {small_disk}/replay is full: slice 1 of round 1" in said[1]
    assert said[0] == said[-1] == ""
    ray.kill(own.replay)
    assert prompts(ReplayBuffer(small_disk / "replay")) == expected(range(2))


@pytest.mark.slow
def test_a_run_does_not_wait_for_room_for_ever(ray_cluster: str, small_disk: Path) -> None:
    actors = ActorsConfig(task_deadline=60, pause_deadline=0.1)
    own = replay_store(small_disk, actors, print)
    asyncio.run(own.store_slice(1, 0, slice_of(0)))
    fill(small_disk)
    with pytest.raises(ReplayFull, match="make room"):
        asyncio.run(own.store_slice(1, 1, slice_of(1, side=64)))
    ray.kill(own.replay)


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", ["4m"], indirect=True)
def test_a_version_waits_for_room_and_the_others_are_given_out_meanwhile(
    ray_cluster: str, quick: None, small_disk: Path, tmp_path: Path
) -> None:
    base = TinyPolicyConfig(path=save_small_policy(tmp_path / "base"))
    store = WeightStoreActor.remote(3, VersionFolder(small_disk, base))
    ray.get(store.get.remote(0), timeout=PATIENCE)
    ballast = fill(small_disk)
    weights = small_policy(1).weights()
    thread = threading.Thread(target=lambda: publish(weights, 1, store, PATIENCE, PATIENCE))
    thread.start()
    time.sleep(1.0)
    assert thread.is_alive() and ray.get(store.versions.remote(), timeout=PATIENCE) == [0]
    assert ray.get(store.get.remote(0), timeout=PATIENCE)[1] == weights_digest(
        small_policy().weights()
    )
    ballast.unlink()
    thread.join(PATIENCE)
    assert ray.get(store.versions.remote(), timeout=PATIENCE) == [0, 1]
    assert [path.name for path in (small_disk / "versions").iterdir()] == ["00001"]
    ray.kill(store)
