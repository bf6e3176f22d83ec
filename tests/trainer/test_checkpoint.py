"""A checkpoint is whole and verified or not there, and going on from one changes no bit."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from actors.storage.paths import LEFTOVER
from policies.interface import CheckpointError
from policies.tiny.policy import TinyPolicy
from tests.trainer.small import SIZES, TRAINER, VISION, WORDS, small_batch, small_policy
from trainer import checkpoint
from trainer.batches import Share
from trainer.checkpoint import Cursor
from trainer.learner import Learner

SETTINGS = {"seed": 0, "trainer.lr": 1e-3}
ONE = vars(Cursor(1, 1, 1, 1, 0))


@pytest.fixture
def learner() -> Learner:
    return Learner(small_policy(), TRAINER)


def learn(learner: Learner, first: int, last: int) -> None:
    for step in range(first, last + 1):
        learner.step({p: (Share(e, 1.0),) for p, e in small_batch(step).items()})


def save(folder: Path, learner: Learner, cursor: Cursor, kept: int = 2) -> Path:
    return checkpoint.save(folder, learner, cursor, SETTINGS, kept, 1.0)


def state_bytes(learner: Learner) -> dict[str, bytes]:
    """Every bit that training depends on, by name."""
    flat = {f"{part}/{name}": value for part, values in learner.state().items()
            for name, value in values.items()}  # fmt: skip
    moments = {f"{name}/{key}": t for name, value in flat.items() if isinstance(value, dict)
               for key, t in value.items()}  # fmt: skip
    tensors = {name: t for name, t in flat.items() if not isinstance(t, dict)} | moments
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def straight() -> dict[str, bytes]:
    """The state after six steps in one go."""
    learner = Learner(small_policy(), TRAINER)
    learn(learner, 1, 6)
    return state_bytes(learner)


@pytest.mark.parametrize("middle", range(7))
def test_going_on_from_any_step_changes_no_bit(middle, straight, learner, tmp_path) -> None:
    learn(learner, 1, middle)
    save(tmp_path, learner, Cursor(1, 1, middle, middle, 0))
    other = Learner(small_policy(seed=9), TRAINER)
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.settings == SETTINGS
    checkpoint.restore(found, other)
    assert other.steps == middle
    learn(other, middle + 1, 6)
    assert state_bytes(other) == straight


def test_saving_changes_no_bit(straight, learner, tmp_path) -> None:
    for step in range(1, 7):
        learn(learner, step, step)
        save(tmp_path, learner, Cursor(1, 1, step, step, 0))
    assert state_bytes(learner) == straight


def test_the_weights_of_a_checkpoint_are_those_that_were_published(learner, tmp_path) -> None:
    learn(learner, 1, 2)
    published = {kind: learner.weights(kind) for kind in ("ema", "model")}
    save(tmp_path, learner, Cursor(2, 1, 0, 2, 1))
    learn(learner, 3, 3)
    ended = checkpoint.verify(checkpoint.finished(tmp_path)[1])
    for kind, weights in published.items():
        read = checkpoint.read_weights(ended, learner, kind)
        assert read.keys() == weights.keys()
        for name, array in read.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, weights[name])


def test_there_is_none_in_a_new_or_empty_folder(tmp_path) -> None:
    assert checkpoint.latest(tmp_path / "new") is None
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.finished(tmp_path) == {}


def test_leftovers_of_a_killed_save_are_not_read_and_then_removed(learner, tmp_path) -> None:
    done = save(tmp_path, learner, Cursor(1, 1, 1, 1, 0))
    leftover = tmp_path / (Cursor(1, 1, 2, 2, 0).name + LEFTOVER)
    shutil.copytree(done, leftover)
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.path == done
    save(tmp_path, learner, Cursor(1, 1, 2, 2, 0))
    assert not leftover.exists()
    assert checkpoint.latest(tmp_path).cursor.step == 2


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (damage, "is damaged (its checksum differs)"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-1]),
            "is damaged (its checksum differs)",
        ),
        (lambda file: file.unlink(), "is missing"),
        (lambda file: (file.parent / "stray").write_text("x"), "is not part of the checkpoint"),
    ],
)
def test_a_damaged_newest_checkpoint_is_named_and_not_skipped(
    harm, says, learner, tmp_path
) -> None:
    save(tmp_path, learner, Cursor(1, 1, 1, 1, 0))
    newest = save(tmp_path, learner, Cursor(1, 1, 2, 2, 0))
    shard = next(newest.glob("*.distcp"))
    harm(shard)
    with pytest.raises(CheckpointError) as error:
        checkpoint.latest(tmp_path)
    assert says in str(error.value)
    assert str(newest) in str(error.value) and "delete it to go on" in str(error.value)
    # What the message advises works.
    shutil.rmtree(newest)
    assert checkpoint.latest(tmp_path).cursor.step == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"cursor": {}, "sha256": "0"}', "[" * 100_000, "9" * 5000, "\ud800"]
)
def test_a_damaged_manifest_is_named(text, learner, tmp_path) -> None:
    path = save(tmp_path, learner, Cursor(1, 1, 1, 1, 0))
    (path / checkpoint.MANIFEST).write_text(text, errors="surrogatepass")
    with pytest.raises(CheckpointError, match=r"state\.json cannot be read"):
        checkpoint.latest(tmp_path)


def test_an_edited_cursor_is_noticed(learner, tmp_path) -> None:
    manifest = save(tmp_path, learner, Cursor(1, 1, 1, 1, 0)) / checkpoint.MANIFEST
    body = json.loads(manifest.read_text())
    body["cursor"]["step"] = 5
    manifest.write_text(json.dumps(body))
    with pytest.raises(CheckpointError, match="its checksum differs"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cursor": {"st\neps": 1}}, r"the cursor has ['st\neps']"),
        ({"cursor": ONE | {"step": "1"}}, "cursor.step is '1', not a whole number from 0"),
        ({"cursor": ONE | {"step": True}}, "cursor.step is True, not a whole number from 0"),
        ({"cursor": ONE | {"epoch": -1}}, "cursor.epoch is -1, not a whole number from 0"),
        ({"cursor": 3}, "has no attribute 'keys'"),
        ({"files": 3}, "'int' object is not iterable"),
        ({"settings": None}, "'NoneType' object is not iterable"),
        ({"files": {"!\n\0": "0"}}, r"!\n\x00' is missing"),
        ({"files": {"!" * 300: "0"}}, "cannot be read (File name too long)"),
    ],
)
def test_a_sealed_manifest_that_says_what_cannot_be_is_named(
    change, says, learner, tmp_path
) -> None:
    manifest = save(tmp_path, learner, Cursor(1, 1, 1, 1, 0)) / checkpoint.MANIFEST
    body = json.loads(manifest.read_text()) | change
    del body["sha256"]
    text = json.dumps(body, sort_keys=True)
    body["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    manifest.write_text(json.dumps(body))
    with pytest.raises(CheckpointError) as error:
        checkpoint.latest(tmp_path)
    assert says in str(error.value) and "delete it to go on" in str(error.value)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_renamed_checkpoint_is_named(learner, tmp_path) -> None:
    path = save(tmp_path, learner, Cursor(1, 1, 1, 1, 0))
    path.rename(tmp_path / Cursor(1, 1, 9, 9, 0).name)
    with pytest.raises(CheckpointError, match=f"it is that of a folder named {path.name}"):
        checkpoint.latest(tmp_path)


def test_what_is_no_checkpoint_is_named(tmp_path) -> None:
    (tmp_path / "step-12").mkdir()
    with pytest.raises(CheckpointError, match="step-12 is not a checkpoint: move it out"):
        checkpoint.latest(tmp_path)


def test_the_newest_and_the_ends_of_the_last_two_rounds_are_kept(learner, tmp_path) -> None:
    for round_ in (1, 2, 3):
        for step in (1, 2, 3):
            done = 3 * (round_ - 1) + step
            save(tmp_path, learner, Cursor(round_, 1, step, done, round_ - 1), kept=2)
        save(tmp_path, learner, Cursor(round_ + 1, 1, 0, done, round_), kept=2)
    save(tmp_path, learner, Cursor(4, 1, 1, 10, 3), kept=2)
    save(tmp_path, learner, Cursor(4, 1, 2, 11, 3), kept=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000006-round-00003",
        "step-00000009-round-00004",
        "step-00000010-round-00004",
        "step-00000011-round-00004",
    ]
    assert list(checkpoint.finished(tmp_path)) == [2, 3]


def test_a_round_without_steps_ends_in_a_checkpoint_of_its_own(learner, tmp_path) -> None:
    save(tmp_path, learner, Cursor(2, 1, 0, 5, 1))
    save(tmp_path, learner, Cursor(3, 1, 0, 5, 2))
    assert checkpoint.latest(tmp_path).cursor == Cursor(3, 1, 0, 5, 2)
    assert list(checkpoint.finished(tmp_path)) == [1, 2]


def test_the_same_cursor_again_is_a_no_op(learner, tmp_path) -> None:
    path = save(tmp_path, learner, Cursor(1, 1, 1, 1, 0))
    before = (path / checkpoint.MANIFEST).read_bytes()
    learn(learner, 1, 1)
    assert save(tmp_path, learner, Cursor(1, 1, 1, 1, 0)) == path
    assert (path / checkpoint.MANIFEST).read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused_in_one_sentence(learner, tmp_path) -> None:
    save(tmp_path, learner, Cursor(1, 1, 1, 1, 0))
    wider = TinyPolicy.create(WORDS, 0, VISION, **(SIZES | {"hidden_size": 64}))
    with pytest.raises(CheckpointError, match=r"does not fit this policy .*started with"):
        checkpoint.restore(checkpoint.latest(tmp_path), Learner(wider, TRAINER))


def test_a_disk_that_takes_no_more_is_named_and_harms_no_older_checkpoint(
    learner, tmp_path
) -> None:
    older = save(tmp_path, learner, Cursor(1, 1, 1, 1, 0))
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, allowed[1]))
    try:
        with pytest.raises(CheckpointError, match=r"could not be written \(.*\): make room"):
            save(tmp_path, learner, Cursor(1, 1, 2, 2, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert checkpoint.latest(tmp_path).path == older
    assert checkpoint.latest(save(tmp_path, learner, Cursor(1, 1, 2, 2, 0)).parent).cursor.step == 2


def test_a_folder_that_cannot_be_written_is_named(learner, tmp_path) -> None:
    (tmp_path / "checkpoints").write_text("a file, where the folder should be")
    with pytest.raises(OSError, match="checkpoints"):
        save(tmp_path / "checkpoints", learner, Cursor())
