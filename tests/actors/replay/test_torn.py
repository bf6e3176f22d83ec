"""What a power failure tore is set aside and done again; what was altered is still refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.replay.buffer import ReplayBuffer, ReplayConflict, ReplayService
from actors.replay.segments import SegmentError, log_digest
from tests.actors.replay.replay_samples import PATIENCE, expected, prompts, slice_of


def a_closed_round(folder: Path, slices: int = 3) -> list[Path]:
    """Round 1, closed; its segments in index order."""
    buffer = ReplayBuffer(folder)
    for index in range(slices):
        buffer.append(1, index, slice_of(index))
    buffer.close_round(1, slices)
    return sorted(folder.rglob("slice-*"))


def tear(path: Path, kept: int = 50) -> Path:
    """Cuts `path` short; returns where it is to be set aside."""
    path.write_bytes(path.read_bytes()[:kept])
    return path.with_name(path.name + ".torn")


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])


@pytest.mark.parametrize("kept", [0, 4, 11, 50, -1, -4])
def test_a_torn_slice_is_set_aside_and_done_again(tmp_path: Path, kept: int) -> None:
    path = a_closed_round(tmp_path)[1]
    whole, stats = log_digest(tmp_path), ReplayBuffer(tmp_path).stats()
    torn = tear(path, kept)
    left = path.read_bytes()
    buffer = ReplayBuffer(tmp_path)
    assert buffer.missing(1, 3) == [1] and prompts(buffer) == expected(range(1))
    assert torn.read_bytes() == left and not path.exists()
    assert (buffer.stats()["torn"], buffer.stats()["ignored"]) == ([str(torn)], [])
    assert ReplayBuffer(tmp_path).stats() == buffer.stats()
    buffer.append(1, 1, slice_of(1))
    assert log_digest(tmp_path) == whole
    assert buffer.stats() == ReplayBuffer(tmp_path).stats() == {**stats, "torn": [str(torn)]}


def test_a_round_that_lost_a_slice_is_closed_again_once_the_slice_is_back(tmp_path: Path) -> None:
    tear(a_closed_round(tmp_path)[1])
    buffer = ReplayBuffer(tmp_path)
    assert buffer.closed(1) is None and buffer.stats()["rounds"][1]["closed"] is None
    assert [buffer.ready(1, start) for start in range(4)] == [True, False, True, False]
    with pytest.raises(ReplayConflict, match=r"3 slices: missing \[1\].*closed before with 3"):
        buffer.close_round(1, 3)
    with pytest.raises(ReplayConflict, match="slice 3 of round 1 .*is closed with 3 slices"):
        buffer.append(1, 3, slice_of(3))
    buffer.append(1, 1, slice_of(1))
    assert buffer.closed(1) == 3 and buffer.ready(1, 3)
    buffer.close_round(1, 3)
    assert ReplayBuffer(tmp_path).closed(1) == 3


def test_readers_wait_at_the_gap(tmp_path: Path) -> None:
    tear(a_closed_round(tmp_path)[1])

    async def story() -> None:
        service = ReplayService(str(tmp_path))
        assert (await service.wait_read(1, 0, 9, PATIENCE))[1] is None
        waiting = [asyncio.create_task(service.wait_read(1, at, 9, PATIENCE)) for at in (1, 3)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        await service.append(1, 1, slice_of(1))
        (slices, end), rest = await asyncio.gather(*waiting)
        assert ([index for index, _ in slices], end, rest) == ([1, 2], 3, ([], 3))

    asyncio.run(story())


def test_a_torn_end_of_a_round_is_set_aside_at_any_length(tmp_path: Path) -> None:
    a_closed_round(tmp_path, slices=12)
    path = tmp_path / "round-00001" / "closed.json"
    whole = path.read_bytes()
    for kept in {*range(0, len(whole), 7), len(whole) - 1}:
        torn = tear(path, kept)
        buffer = ReplayBuffer(tmp_path)
        assert (buffer.closed(1), buffer.stats()["torn"]) == (None, [str(torn)])
        assert torn.read_bytes() == whole[:kept] and not path.exists()
        buffer.close_round(1, 12)
        assert path.read_bytes() == whole and ReplayBuffer(tmp_path).closed(1) == 12


def test_an_end_that_was_altered_before_it_was_torn_is_refused(tmp_path: Path) -> None:
    a_closed_round(tmp_path)
    path = tmp_path / "round-00001" / "closed.json"
    flip(path)
    tear(path, 60)
    with pytest.raises(SegmentError, match=r"closed\.json: checksum differs"):
        ReplayBuffer(tmp_path)


def test_what_was_altered_is_refused_beside_what_was_torn(tmp_path: Path) -> None:
    first, second, _ = a_closed_round(tmp_path)
    flip(first)
    torn = tear(second)
    with pytest.raises(SegmentError, match=f"{first.name}: checksum differs") as refusal:
        ReplayBuffer(tmp_path)
    assert second.name not in str(refusal.value)
    first.unlink()
    buffer = ReplayBuffer(tmp_path)
    assert (buffer.missing(1, 3), buffer.stats()["torn"]) == ([0, 1], [str(torn)])


def test_a_torn_file_of_other_groups_is_not_in_the_way_of_a_whole_one(tmp_path: Path) -> None:
    path = a_closed_round(tmp_path)[1]
    other = a_closed_round(tmp_path / "other", slices=1)[0]
    torn = tear(other.rename(path.with_name(other.name.replace("00000-", "00001-"))))
    buffer = ReplayBuffer(tmp_path)
    assert (buffer.closed(1), buffer.stats()["torn"]) == (3, [str(torn)])


def test_a_number_of_slices_that_is_none_is_named(tmp_path: Path) -> None:
    a_closed_round(tmp_path)
    path = tmp_path / "round-00001" / "closed.json"
    path.write_bytes(b'{"round": 1, "slices": ' + b"9" * 5000 + b"}\n")
    with pytest.raises(SegmentError, match=r"closed\.json: checksum differs"):
        ReplayBuffer(tmp_path)


def test_digits_of_another_script_name_no_round(tmp_path: Path) -> None:
    a_closed_round(tmp_path)
    other = tmp_path / "round-\u0660\u0660\u0660\u0660\u0662"
    other.mkdir()
    (other / "closed.json").write_bytes((tmp_path / "round-00001" / "closed.json").read_bytes())
    buffer = ReplayBuffer(tmp_path)
    assert buffer.closed(2) is None
    assert buffer.stats()["ignored"] == [str(other / "closed.json")]
