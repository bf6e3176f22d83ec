"""The replay buffer: any order of arrival reads the same, nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.replay.buffer import (
    ReplayBuffer,
    ReplayBufferActor,
    ReplayConflict,
    ReplayService,
)
from actors.replay.segments import SegmentError, log_digest
from tests.actors.replay.replay_samples import PATIENCE, expected, prompts, slice_of
from tests.trainer.small import group


@settings(max_examples=40)
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
    counts = {"slices": 1, "drawings": 2, "accepted": 1, "contested": 1, "rejected": 1}
    assert again.stats()["rounds"] == {
        1: {**counts, "closed": 1},
        2: {**counts, "closed": None},
    }
    assert again.stats(margin=3)["rounds"][1]["contested"] == 0  # one drawing is not contested
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
        path.write_bytes(data[:-5] + bytes([data[-5] ^ 4]) + data[-4:])
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


def test_drawings_and_contested_groups_are_counted_alike_after_a_restart(tmp_path: Path) -> None:
    buffer = ReplayBuffer(tmp_path)
    scores = ((9.0, 2.0, None), (9.0, 8.0), (9.0,), (3.0, 1.0))
    reasons = ("", "", "", "best score 3 is under 7")
    groups = [
        replace(group(i, own), reason=why)
        for i, (own, why) in enumerate(zip(scores, reasons, strict=True))
    ]
    buffer.append(1, 0, groups)
    for one in (buffer, ReplayBuffer(tmp_path)):
        found = one.stats(margin=3)["rounds"][1]
        assert found["drawings"] == 8 and found["rejected"] == 1
        assert found["accepted"] == 3 and found["contested"] == 1
