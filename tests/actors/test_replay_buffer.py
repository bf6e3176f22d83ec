"""The replay buffer: any order of arrival reads the same, nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.records import JudgedGroup, Judgement, Rollout
from actors.replay_buffer import (
    ReplayBuffer,
    ReplayBufferActor,
    ReplayConflict,
    ReplayFull,
    ReplayService,
    ReplayUnwritable,
)
from actors.segments import SegmentError, log_digest
from policies.interface import Picture

PATIENCE = 240.0  # seconds: a busy machine is slow, not wrong


def slice_of(index: int, side: int = 4) -> list[JudgedGroup]:
    """Two groups, the second rejected; a pure function of `index`; `side` makes it large."""
    pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
    rollout = Rollout(index, 1.0, 1.0, Picture(pixels), Judgement("fine", 9.0, 1))
    return [
        JudgedGroup(1, 2 * index + k, "counting", "single", f"prompt {index}", 5, 0, 0,
                    (rollout,), reason)
        for k, reason in enumerate(("", "best score 3 is below 7"))
    ]  # fmt: skip


def prompts(buffer: ReplayBuffer, round_: int = 1, start: int = 0, limit: int = 99) -> list:
    return [(i, [g.prompt for g in groups]) for i, groups in buffer.read(round_, start, limit)]


def expected(indices: range) -> list:
    return [(index, [f"prompt {index}"] * 2) for index in indices]


@settings(max_examples=60)
@given(
    st.integers(1, 5).flatmap(
        lambda n: st.tuples(
            st.permutations(range(n)), st.lists(st.integers(0, n - 1), max_size=4), st.booleans()
        )
    )
)
def test_every_order_of_appends_reads_back_the_same(
    story: tuple[list[int], list[int], bool],
) -> None:
    order, again, restart = story
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as peace:
        buffer, calm = ReplayBuffer(folder), ReplayBuffer(peace)
        for index in order:
            buffer.append(1, index, slice_of(index))
            buffer = ReplayBuffer(folder) if restart else buffer
        for index in again:
            buffer.append(1, index, slice_of(index))
        for index in sorted(order):
            calm.append(1, index, slice_of(index))
        buffer.close_round(1, len(order))
        assert prompts(buffer) == prompts(calm) == expected(range(len(order)))
        assert log_digest(folder) == log_digest(peace)


def test_readers_see_slices_up_to_the_first_gap(tmp_path: Path) -> None:
    buffer = ReplayBuffer(tmp_path)
    for index in (3, 0, 1):
        buffer.append(1, index, slice_of(index))
    assert prompts(buffer) == expected(range(2))
    assert prompts(buffer, start=1, limit=1) == expected(range(1, 2))
    assert prompts(buffer, start=2) == prompts(buffer, round_=2) == []
    assert buffer.missing(1, 5) == [2, 4]
    buffer.append(1, 2, slice_of(2))
    assert prompts(buffer) == expected(range(4))


def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "replay"
    buffer = ReplayBuffer(folder)
    buffer.append(1, 0, slice_of(0))
    buffer.append(2, 1, slice_of(1))
    buffer.close_round(1, 1)
    again = ReplayBuffer(folder)
    assert again.stats() == buffer.stats()
    assert again.stats()["rounds"] == {
        1: {"slices": 1, "accepted": 1, "rejected": 1, "closed": 1},
        2: {"slices": 1, "accepted": 1, "rejected": 1, "closed": None},
    }
    assert (again.closed(1), again.closed(2)) == (1, None)
    assert prompts(again) == expected(range(1))


def test_other_groups_under_a_known_name_are_refused(tmp_path: Path) -> None:
    buffer = ReplayBuffer(tmp_path)
    buffer.append(1, 0, slice_of(0))
    before = log_digest(tmp_path)
    with pytest.raises(ReplayConflict, match=r"slice 0 of round 1 is stored as .*slice-00000-"):
        buffer.append(1, 0, slice_of(1))
    assert log_digest(tmp_path) == before


def test_the_end_of_a_round_is_kept(tmp_path: Path) -> None:
    buffer = ReplayBuffer(tmp_path)
    buffer.append(1, 0, slice_of(0))
    with pytest.raises(ReplayConflict, match=r"with 3 slices: missing \[1, 2\]"):
        buffer.close_round(1, 3)
    buffer.append(1, 1, slice_of(1))
    with pytest.raises(ReplayConflict, match=r"with 1 slices: .*beyond the end \[1\]"):
        buffer.close_round(1, 1)
    buffer.close_round(1, 2)
    buffer.close_round(1, 2)
    buffer.append(1, 1, slice_of(1))
    with pytest.raises(ReplayConflict, match=r"slice 2 of round 1.*closed with 2 slices"):
        buffer.append(1, 2, slice_of(2))
    with pytest.raises(ReplayConflict, match="cannot be: the round starts at slice 0"):
        buffer.append(1, -1, slice_of(2))


def test_every_damaged_file_is_named_and_deleting_it_has_it_made_again(tmp_path: Path) -> None:
    buffer = ReplayBuffer(tmp_path)
    for index in range(3):
        buffer.append(1, index, slice_of(index))
    buffer.close_round(1, 3)
    before, stats = log_digest(tmp_path), buffer.stats()
    first, second, _ = sorted(tmp_path.rglob("slice-*"))
    for path in (first, second):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 4]))
    with pytest.raises(SegmentError, match=f"{first.name}.*{second.name}"):
        ReplayBuffer(tmp_path)
    for reader in (lambda: buffer.read(1, 0, 1), lambda: log_digest(tmp_path)):
        with pytest.raises(SegmentError, match=f"{first.name}: checksum differs"):
            reader()
    first.unlink()
    second.unlink()
    healed = ReplayBuffer(tmp_path)
    assert healed.missing(1, 3) == [0, 1]
    for index in healed.missing(1, 3):
        healed.append(1, index, slice_of(index))
    assert (log_digest(tmp_path), healed.stats()) == (before, stats)


def test_a_flipped_byte_in_the_end_of_a_round_is_named(tmp_path: Path) -> None:
    ReplayBuffer(tmp_path).close_round(1, 0)
    path = tmp_path / "round-00001" / "closed.json"
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(SegmentError, match=r"closed\.json: checksum differs"):
            ReplayBuffer(tmp_path)


def test_two_files_for_one_slice_and_a_slice_beyond_the_end_are_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    ReplayBuffer(one).append(1, 0, slice_of(0))
    ReplayBuffer(one).close_round(1, 1)
    ReplayBuffer(two).append(1, 0, slice_of(5))
    ReplayBuffer(two).append(1, 1, slice_of(1))
    for path in two.rglob("slice-*"):
        path.rename(one / "round-00001" / path.name)
    with pytest.raises(SegmentError, match=r"both hold slice 0 of round 1.*and holds \[1\]"):
        ReplayBuffer(one)


def test_leftovers_are_ignored_and_reported(tmp_path: Path) -> None:
    ReplayBuffer(tmp_path).append(1, 0, slice_of(0))
    (stored,) = tmp_path.rglob("slice-*")
    torn = stored.with_name(stored.name.replace("00000", "00001") + ".0badf00d.tmp")
    torn.write_bytes(stored.read_bytes()[:50])
    buffer = ReplayBuffer(tmp_path)
    assert buffer.stats()["ignored"] == [str(torn)]
    assert buffer.missing(1, 2) == [1]
    buffer.append(1, 1, slice_of(1))
    assert prompts(buffer) == expected(range(2))


WRITER = """
import itertools, sys
from actors.replay_buffer import ReplayBuffer
from tests.actors.test_replay_buffer import slice_of
buffer = ReplayBuffer(sys.argv[1])
for index in itertools.count():
    buffer.append(1, index, slice_of(index, side=64))
    print(index, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_at_any_time(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for wait in (0.0, 0.011, 0.037):
        folder = tmp_path / str(wait)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = [int(line) for line in [first, *writer.stdout] if line.endswith("\n")]
        writer.wait(timeout=PATIENCE)
        buffer = ReplayBuffer(folder)
        read = [index for index, groups in buffer.read(1, 0, 10**6)]
        assert read[: len(acknowledged)] == acknowledged == list(range(len(acknowledged)))
        assert len(read) - len(acknowledged) in (0, 1)
        assert all(path.endswith(".tmp") for path in buffer.stats()["ignored"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting a small tmpfs is not permitted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(150_000))
    folder = small_disk / "replay"
    buffer = ReplayBuffer(folder)
    with pytest.raises(ReplayFull) as full:
        for index in itertools.count():
            buffer.append(1, index, slice_of(index, side=64))
    stored = len(buffer.read(1, 0, 99))
    assert stored >= 1
    sentence = str(full.value)
    assert f"{folder} is full: slice {stored} of round 1 needs " in sentence, sentence
    assert "make room" in sentence
    assert not list(folder.rglob("*.tmp"))
    assert ReplayBuffer(folder).stats() == buffer.stats()
    ballast.unlink()
    buffer.append(1, stored, slice_of(stored, side=64))
    buffer.close_round(1, stored + 1)
    assert [index for index, _ in ReplayBuffer(folder).read(1, 0, 99)] == list(range(stored + 1))


def test_a_full_disk_does_not_close_a_round(small_disk: Path) -> None:
    buffer = ReplayBuffer(small_disk)
    buffer.append(1, 0, slice_of(0))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(300_000))
    with pytest.raises(ReplayFull, match="the end of round 1 needs"):
        buffer.close_round(1, 1)
    assert (buffer.closed(1), ReplayBuffer(small_disk).closed(1)) == (None, None)
    ballast.unlink()
    buffer.close_round(1, 1)
    assert ReplayBuffer(small_disk).closed(1) == 1


def test_a_read_only_folder_is_named_and_read_all_the_same(small_disk: Path) -> None:
    ReplayBuffer(small_disk).append(1, 0, slice_of(0))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    buffer = ReplayBuffer(small_disk)
    assert prompts(buffer) == expected(range(1))
    with pytest.raises(ReplayUnwritable, match=f"{small_disk} takes no writes .*Read-only") as no:
        buffer.append(1, 1, slice_of(1))
    assert not isinstance(no.value, ReplayFull)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    buffer.append(1, 1, slice_of(1))
    assert prompts(buffer) == expected(range(2))


def test_wait_read_returns_when_there_is_something_or_the_end(tmp_path: Path) -> None:
    async def story() -> None:
        service = ReplayService(str(tmp_path))
        waiting = asyncio.create_task(service.wait_read(1, 0, 9, PATIENCE))
        await service.append(1, 1, slice_of(1))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await service.append(1, 0, slice_of(0))
        slices, end = await waiting
        assert ([index for index, _ in slices], end) == ([0, 1], None)
        waiting = asyncio.create_task(service.wait_read(1, 2, 9, PATIENCE))
        await service.close_round(1, 2)
        assert await waiting == ([], 2)

    asyncio.run(story())


def test_wait_read_names_what_it_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        service = ReplayService(str(tmp_path))
        await service.append(1, 1, slice_of(1))
        await service.wait_read(1, 0, 9, 0.1)

    sentence = r"waited 0.1 s for slice 0 of round 1: the log has slices \[1\].*is not closed"
    with pytest.raises(TimeoutError, match=sentence):
        asyncio.run(story())


def test_the_actor_keeps_the_log_and_its_errors_keep_their_names(
    ray_cluster: str, tmp_path: Path
) -> None:
    buffer = ReplayBufferActor.remote(str(tmp_path))
    payload = ray.put(slice_of(0))
    waiting = buffer.wait_read.remote(1, 0, 9, PATIENCE)
    racing = [buffer.append.remote(1, index, slice_of(index)) for index in (3, 2, 1, 3, 2)]
    ray.get([*racing, buffer.append.remote(1, 0, payload)], timeout=PATIENCE)
    slices, end = ray.get(waiting, timeout=PATIENCE)
    assert slices[0][1][0].prompt == "prompt 0" and end is None
    assert [index for index, _ in ray.get(buffer.read.remote(1, 0, 9), timeout=PATIENCE)] == [
        0,
        1,
        2,
        3,
    ]
    with pytest.raises(ReplayConflict, match=r"with 5 slices: missing \[4\]"):
        ray.get(buffer.close_round.remote(1, 5), timeout=PATIENCE)
    ray.get(buffer.close_round.remote(1, 4), timeout=PATIENCE)
    assert ray.get(buffer.closed.remote(1), timeout=PATIENCE) == 4
    assert ray.get(buffer.missing.remote(1, 6), timeout=PATIENCE) == [4, 5]
    with pytest.raises(TimeoutError, match="slice 0 of round 2"):
        ray.get(buffer.wait_read.remote(2, 0, 9, 0.1), timeout=PATIENCE)
    assert ReplayBuffer(tmp_path).stats() == ray.get(buffer.stats.remote(), timeout=PATIENCE)
    ray.kill(buffer)
