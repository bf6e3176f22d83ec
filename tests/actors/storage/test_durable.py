"""Durable writes, with a failure or a death at every step and then a loss of power."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from actors.replay.buffer import ReplayBuffer
from actors.storage import local, sealed_folder, storage
from tests.actors.replay.replay_samples import slice_of
from tests.actors.storage.unsafe_disk import Crash, Fault, UnsafeDisk

STEPS = 12  # of a write that makes three folders on its way


def oldest(outcomes: int) -> int:
    return outcomes - 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("steps", range(STEPS))
def test_a_write_that_failed_leaves_nothing_undone_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, late: bool
) -> None:
    path, disk = tmp_path / "a" / "b" / "c" / "file", UnsafeDisk.installed(monkeypatch)
    disk.fault = Fault(steps, late, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        storage.write(path, b"data")
    storage.write(path, b"data")
    disk.fail_power(oldest)
    assert path.read_bytes() == b"data"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("steps", range(STEPS))
def test_what_a_log_shows_after_a_death_is_there_after_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, late: bool
) -> None:
    folder, disk = tmp_path / "run" / "replay", UnsafeDisk.installed(monkeypatch)
    disk.fault = Fault(steps, late, None)
    with pytest.raises(Crash):
        ReplayBuffer(folder).append(1, 0, slice_of(0))
    shown = ReplayBuffer(folder).stats()["rounds"]
    disk.fail_power(oldest)
    assert ReplayBuffer(folder).stats()["rounds"] == shown


def test_a_torn_file_that_was_set_aside_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = UnsafeDisk.installed(monkeypatch)
    ReplayBuffer(tmp_path).append(1, 0, slice_of(0))
    (path,) = tmp_path.rglob("slice-*")
    disk.tear(path, 50)
    ReplayBuffer(tmp_path)
    disk.fail_power(oldest)
    assert [found.name for found in tmp_path.rglob("slice-*")] == [f"{path.name}.torn"]


def test_a_folder_is_made_below_one_that_cannot_be_read(tmp_path: Path) -> None:
    home = tmp_path / "closed" / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o311)
    try:
        storage.write(home / "new" / "file", b"data")
    finally:
        home.parent.chmod(0o755)
    assert (home / "new" / "file").read_bytes() == b"data"


def test_all_that_a_sealed_folder_holds_is_durable_before_its_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(local, "sync", lambda path: synced.append(path.name))
    with sealed_folder.making(tmp_path / "00001", ".aside", "seal", b"x") as folder:
        (folder / "one").write_bytes(b"1")
        (folder / "part" / "inner").mkdir(parents=True)
        (folder / "part" / "inner" / "two").write_bytes(b"2")
    # A seal is written under another name first.
    seal = next(place for place, name in enumerate(synced) if name.startswith("seal"))
    assert set(synced[:seal]) >= {"one", "part", "inner", "two"}
