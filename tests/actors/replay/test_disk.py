"""The replay buffer against a real disk: killed writers, no room, no permission."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.replay.buffer import ReplayBuffer, ReplayFull, ReplayUnwritable
from tests.actors.replay.replay_samples import PATIENCE, expected, prompts, slice_of

WRITER = """
import itertools, sys
from actors.replay.buffer import ReplayBuffer
from tests.actors.replay.replay_samples import slice_of
buffer = ReplayBuffer(sys.argv[1])
for index in itertools.count():
    buffer.append(1, index, slice_of(index, side=64))
    print(index, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_at_any_time(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    for wait in (0.0, 0.037):
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


def test_a_torn_file_in_a_read_only_folder_is_named(small_disk: Path) -> None:
    ReplayBuffer(small_disk).append(1, 0, slice_of(0))
    (path,) = small_disk.rglob("slice-*")
    path.write_bytes(path.read_bytes()[:50])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ReplayUnwritable, match=f"takes no writes .*Read-only.*{path.name}"):
        ReplayBuffer(small_disk)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert ReplayBuffer(small_disk).missing(1, 1) == [0]
