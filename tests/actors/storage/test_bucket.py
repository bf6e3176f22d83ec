"""A run folder in a bucket: everything that is kept on a disk is kept there as well, and as whole."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pytest

from actors import retry
from actors.replay.buffer import ReplayBuffer, ReplayUnwritable
from actors.replay.segments import SegmentError, log_digest, read_segment, read_texts
from actors.retry import patiently
from actors.storage import bucket, clients, events, sealed_folder, storage
from actors.storage.bucket import BucketSilent, BucketStorage
from actors.storage.paths import BucketPath
from actors.storage.paths import parse_path as named
from actors.weights.digests import weights_digest
from actors.weights.version_folder import DIGEST, VersionDamaged, VersionFolder
from policies.config import ConfigError, TinyPolicyConfig
from tests.actors.replay.replay_samples import slice_of
from tests.bucket import Line
from tests.trainer.small import TRAINER, save_small_policy, small_batch, small_policy
from trainer import checkpoint
from trainer.batches import Share
from trainer.checkpoint import Cursor
from trainer.config import RunConfig
from trainer.journal import Journal
from trainer.learner import Learner


@pytest.fixture
def cut(s3: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The line, and little patience where it is cut."""
    for name, seconds in (("READ_S", 1.0), ("AGAIN_S", 0.1)):
        monkeypatch.setattr(bucket, name, seconds)
    monkeypatch.setattr(retry, "PAUSE_S", 0.1)
    yield s3
    s3.mend()


def test_files_are_read_as_they_were_written_and_are_listed(place: BucketPath) -> None:
    large = np.random.default_rng(0).bytes(12 * 2**20)  # more than one part of an upload
    contents = {"a": b"1", "b/c": large, "b/d/e": b"", "b/f": b"\x00\xff"}
    for name, data in contents.items():
        storage.write(place / name, data)
    assert storage.files(place) == [place / name for name in contents]
    assert storage.names(place) == ["a", "b"]
    assert storage.names(place / "b") == ["c", "d", "f"]
    for name, data in contents.items():
        assert storage.read(place / name) == data
    with storage.open_file(place / "b/c") as file:
        file.seek(5)
        assert file.read(7) == large[5:12]
    assert storage.exists(place / "b") and not storage.exists(place / "g")
    assert storage.names(place / "g") == storage.files(place / "g") == []
    assert storage.changed(place / "g") == 0
    assert abs(storage.changed(place / "a") / 1e9 - time.time()) < 600
    with pytest.raises(FileNotFoundError):
        storage.read(place / "g")
    storage.move(place / "a", place / "a.torn")
    assert storage.names(place) == ["a.torn", "b"]
    storage.append(place / "lines", b"one\n")
    storage.append(place / "lines", b"two\n")
    assert storage.read(place / "lines") == b"one\ntwo\n"


def test_a_sealed_folder_is_whole_or_not_there(place: BucketPath) -> None:
    path = place / "00001"
    with pytest.raises(RuntimeError), sealed_folder.making(path, "", "seal", b"x") as local:
        (local / "one").write_bytes(b"1")
        raise RuntimeError("died")
    storage.write(path / "two", b"by one who died later")
    assert not storage.is_whole(path, "seal")
    with sealed_folder.making(path, "", "seal", b"x") as local:
        (local / "two").write_bytes(b"2")
        (local / "part" / "inner").mkdir(parents=True)
        (local / "part" / "inner" / "three").write_bytes(b"3")
    assert storage.is_whole(path, "seal")
    assert storage.names(path) == ["part", "seal", "two"]
    with storage.copied(path) as local:
        assert (local / "two").read_bytes() == b"2"
        assert (local / "part" / "inner" / "three").read_bytes() == b"3"
    storage.discard(path, "seal")
    assert storage.files(place) == [] and not storage.is_whole(path, "seal")


def test_the_replay_log_goes_on_where_it_was_and_names_what_was_altered(place: BucketPath) -> None:
    log = ReplayBuffer(place / "replay")
    for index in (1, 0):
        assert log.append(1, index, slice_of(index))
    assert not log.append(1, 1, slice_of(1))
    log.close_round(1, 2)
    again = ReplayBuffer(place / "replay")
    assert again.closed(1) == 2
    assert [index for index, _ in again.read(1, 0, 5)] == [0, 1]
    before = log_digest(place / "replay")
    whole = storage.files(place / "replay")[1]
    data = storage.read(whole)
    storage.write(whole, data[:-100])
    torn = ReplayBuffer(place / "replay")
    assert torn.missing(1, 2) == [0] and torn.stats()["torn"] == [f"{whole}.torn"]
    assert torn.append(1, 0, slice_of(0))
    assert log_digest(place / "replay") == before
    storage.write(whole, data[:100] + b"altered" + data[107:])
    with pytest.raises(SegmentError, match=rf"{whole}.*"):
        ReplayBuffer(place / "replay").read(1, 0, 5)


def test_versions_are_public_checkpoints_there_too(place: BucketPath, tmp_path) -> None:
    folder = VersionFolder(place, TinyPolicyConfig(path=save_small_policy(tmp_path / "base")))
    weights = small_policy(1).weights()
    storage.write(folder.path(2) / "config.json", b"{")  # of a writer that died
    for _ in range(2):
        folder.write(1, weights, weights_digest(weights))
    assert folder.versions() == [0, 1]
    read, measured = folder.read(1)
    assert weights_digest(read) == measured == weights_digest(weights)
    storage.write(folder.path(1) / DIGEST, b"0" * 32)
    with pytest.raises(VersionDamaged, match=rf"{folder.path(1)} holds weights that hash to"):
        folder.read(1)


def test_training_goes_on_from_a_checkpoint_there_as_if_it_had_not_ended(
    place: BucketPath,
) -> None:
    def steps(learner: Learner, *numbers: int) -> str:
        for number in numbers:
            learner.step({p: (Share(e, 1.0),) for p, e in small_batch(number).items()})
        return weights_digest(learner.weights("ema", here=True))

    folder, first = place / "checkpoints", Learner(small_policy(), TRAINER)
    steps(first, 1, 2)
    checkpoint.save(folder, first, Cursor(1, 1, 2, 2, 0), {"seed": 3}, 1, 1.0)
    wanted = steps(first, 3, 4)
    storage.write(folder / Cursor(1, 1, 9, 9, 0).name / "__0_0.distcp", b"of one who died")

    found = checkpoint.latest(folder)
    assert found is not None and found.cursor == Cursor(1, 1, 2, 2, 0)
    second = Learner(small_policy(5), TRAINER)
    checkpoint.restore(found, second)
    assert steps(second, 3, 4) == wanted
    checkpoint.save(folder, second, Cursor(2, 1, 0, 4, 1), {"seed": 3}, 1, 1.0)
    assert storage.names(folder) == [Cursor(2, 1, 0, 4, 1).name]  # older ones and leftovers went

    file = next(path for path in storage.files(folder) if path.suffix == ".distcp")
    storage.write(file, storage.read(file)[:-1] + b"?")
    with pytest.raises(checkpoint.CheckpointError, match=rf"{file} is damaged"):
        checkpoint.latest(folder)


def test_the_journal_and_the_events(place: BucketPath) -> None:
    journal = Journal(place / "train.jsonl", 1.0)
    assert journal.last() is None
    for step in range(1, 6):
        journal.add({"step": step})
    journal.rewind(3)
    journal.add({"step": 4, "again": True})
    assert journal.last() == {"step": 4, "again": True}
    assert storage.read(journal.path).count(b"\n") == 4
    for number in range(3):
        events.note(place, f"solver {number}", "died", why="a reason")
        time.sleep(0.3)
    assert [event["who"] for event in events.read(place)] == ["solver 0", "solver 1", "solver 2"]


def test_a_silent_bucket_is_waited_for_and_loses_nothing(place: BucketPath, cut: Line) -> None:
    log = ReplayBuffer(place / "replay")
    assert storage.refusal(place, 1) == ""
    cut.cut()
    assert "cannot be read" in storage.refusal(place, 1)
    with pytest.raises(ReplayUnwritable, match="slice 0 of round 1 was not stored"):
        log.append(1, 0, slice_of(0))
    events.note(place, "nobody", "hears of it")
    with pytest.raises(BucketSilent, match=rf"{place}/x cannot be read .*error sending request"):
        storage.read(place / "x")
    with pytest.raises(
        TimeoutError, match=r"waited 0.3 s \(actors.pause_deadline\) .* a line: .*|store a line"
    ):
        patiently(lambda: storage.write(place / "y", b"1"), "a line", 0.3)
    done = threading.Thread(
        target=patiently, args=(lambda: storage.write(place / "z", b"1"), "z", 60.0)
    )
    done.start()
    time.sleep(0.5)
    assert done.is_alive()
    cut.mend()
    done.join(60)
    assert storage.read(place / "z") == b"1"
    assert log.append(1, 0, slice_of(0))


def test_a_checkpoint_waits_for_a_silent_bucket(place: BucketPath, cut: Line) -> None:
    """Wherever it is when the line is cut: looking, writing shards, or reading them back."""
    learner, folder = Learner(small_policy(), TRAINER), place / "checkpoints"
    checkpoint.save(folder, learner, Cursor(1, 1, 1, 1, 0), {}, 9, 60.0)
    for step, late in enumerate((0.0, 0.05, 0.2), 2):
        cursor = Cursor(1, 1, step, step, 0)
        saving = threading.Thread(
            target=checkpoint.save, args=(folder, learner, cursor, {}, 9, 60.0)
        )
        saving.start()
        time.sleep(late)
        cut.cut()
        time.sleep(0.5)
        cut.mend()
        saving.join(60)
        found = checkpoint.latest(folder)
        assert found is not None and found.cursor == cursor
        checkpoint.restore(found, learner)


def test_a_checkpoint_that_somebody_thinned_out_is_not_sealed(place: BucketPath) -> None:
    """As a driver may that was cut off and does not know that it was replaced."""
    folder, cursor = place / "checkpoints", Cursor(1, 1, 2, 2, 0)
    aside = folder / cursor.name
    checkpoint._write_shards(aside, Learner(small_policy(), TRAINER))
    BucketStorage().delete(aside / "__0_0.distcp")
    with pytest.raises(FileNotFoundError):
        checkpoint._finish(aside, aside, cursor, {})
    assert checkpoint.latest(folder) is None


def test_silence_is_no_damage(place: BucketPath, cut: Line, tmp_path: Path) -> None:
    """Nobody is told to delete what only cannot be reached."""
    log = ReplayBuffer(place / "replay")
    log.append(1, 0, slice_of(0))
    checkpoint.save(place / "c", Learner(small_policy(), TRAINER), Cursor(1, 1, 2, 2), {}, 1, 60.0)
    segment = next(path for path in storage.files(place / "replay"))
    manifest = place / "c" / Cursor(1, 1, 2, 2).name
    versions = VersionFolder(place, TinyPolicyConfig(path=save_small_policy(tmp_path / "base")))
    cut.cut()
    reads = (read_segment, read_texts, checkpoint.verify)
    for read, what in zip(reads, (segment, segment, manifest), strict=True):
        with pytest.raises(BucketSilent, match="see that the bucket is there"):
            read(what)
    with pytest.raises(BucketSilent):
        versions.read(1)


def test_a_line_whose_answer_was_lost_is_there_once(place: BucketPath) -> None:
    for line in (b"one\n", b"two\n", b"two\n"):
        storage.append(place / "lines", line)
    assert storage.read(place / "lines") == b"one\ntwo\n"


def test_a_run_whose_name_makes_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^name is 'lr@2': .* in a bucket without @"):
        RunConfig(folder="s3://b/runs", name="lr@2")
    RunConfig(folder="runs", name="lr@2")


@pytest.mark.parametrize(
    "address",
    ["s3://KEY:SECRET@b/runs", "s3://b/runs?secret_key=SECRET", "http://b/runs", "s3://", "s3:///runs",
     "s3://b/../c", "s3://b/runs#x", "gs://B UCKET/runs"],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_without_its_secret(address: str) -> None:
    with pytest.raises(ConfigError, match="of a folder=... cannot be: it must be like") as refusal:
        named(address)
    assert "SECRET" not in str(refusal.value)


def test_a_bucket_that_is_not_there_is_named(s3: Line) -> None:
    with pytest.raises(
        BucketSilent, match=r"s3://no-such-bucket/x cannot be written .*NoSuchBucket"
    ):
        storage.write(BucketPath("s3://no-such-bucket/x"), b"1")


def test_what_another_writer_left_in_a_checkpoint_is_not_read(place: BucketPath) -> None:
    learner, folder, cursor = Learner(small_policy(), TRAINER), place / "c", Cursor(1, 1, 2, 2, 0)
    storage.write(folder / cursor.name / "__1_0.distcp", b"of more ranks, which died")
    path = checkpoint.save(folder, learner, cursor, {}, 9, 60.0)
    storage.write(path / ".metadata.tmp", b"of one that is cut off")
    found = checkpoint.latest(folder)
    assert found is not None and found.cursor == cursor
    checkpoint.restore(found, learner)


def test_a_damaged_file_is_named_where_the_bucket_answers(place: BucketPath) -> None:
    log = ReplayBuffer(place / "replay")
    log.append(1, 0, slice_of(0))
    (path,) = storage.files(place / "replay")
    data = storage.read(path)
    storage.write(path, data[:-300] + bytes(292) + data[-8:])
    with pytest.raises(SegmentError, match="was not written by this program"):
        read_texts(path)


def test_the_keys_of_a_profile_are_found(
    place: BucketPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "credentials"
    keys.write_text("[work]\naws_access_key_id = who\naws_secret_access_key = hidden-from-all\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv(clients.CREDENTIALS, str(keys))
    monkeypatch.setenv("AWS_PROFILE", "work")
    clients._of.cache_clear()
    try:
        storage.write(place / "x", b"1")
        assert storage.read(place / "x") == b"1"
    finally:
        clients._of.cache_clear()


def test_marks_of_folders_are_no_files(place: BucketPath) -> None:
    """As some tools leave them: empty files whose names end like those of folders."""
    storage.write(place / "a" / "b", b"1")
    port = urlsplit(os.environ["AWS_ENDPOINT_URL"]).port
    for mark in (place, place / "a"):
        key = str(mark).removeprefix("s3://")
        urlopen(Request(f"http://127.0.0.1:{port}/{quote(key)}/", method="PUT", data=b""))
    assert storage.files(place) == [place / "a" / "b"]
    assert storage.names(place) == ["a"]


def test_a_large_file_that_is_cut_off_was_never_written(place: BucketPath, cut: Line) -> None:
    part = bytes(6 * 2**20)
    with pytest.raises(BucketSilent), BucketStorage().open_sink(place / "x") as sink:
        for number in range(8):
            sink.write(part)
            if number == 1:
                cut.cut()
    cut.mend()
    assert not storage.exists(place / "x")


def test_what_is_left_early_was_never_written(place: BucketPath) -> None:
    part = bytes(6 * 2**20)
    with pytest.raises(RuntimeError), BucketStorage().open_sink(place / "x") as sink:
        for _ in range(4):
            sink.write(part)
        raise RuntimeError("died")
    assert not storage.exists(place / "x")
    with BucketStorage().open_sink(place / "x") as sink:
        for _ in range(4):
            sink.write(part)
        assert sink.tell() == 4 * len(part)
    assert storage.read(place / "x") == 4 * part
