"""What training goes on from: model, optimizer, average, and the place in the replay log.

Invariant: a folder named `step-<steps>-round-<round>` is whole, durable and verified by the
sha256 of its every file in `state.json`, which is written last. The
checkpoints that ended the two newest rounds are always kept: their weights are the published
versions that a resumed run may need again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from actors.retry import FULL, patiently
from actors.storage import sealed_folder, storage
from actors.storage.bucket import BucketSilent
from actors.storage.paths import LEFTOVER, StoragePath
from policies.errors import describe, one_line, printable
from policies.interface import CheckpointError
from trainer import shards
from trainer.learner import Kind, Learner

NAME = re.compile(r"step-(\d{8,})-round-(\d{5,})")
MANIFEST = "state.json"
KEPT_VERSIONS = 2


@dataclass(frozen=True)
class Cursor:
    """Where training stands: `step` steps of epoch `epoch` of round `round` are done, and
    `version` is the newest that is finished. `global_step` counts the run's steps, of which the last
    `skipped` were skipped."""

    round: int = 1
    epoch: int = 1
    step: int = 0
    global_step: int = 0
    version: int = 0
    skipped: int = 0

    @property
    def between_rounds(self) -> bool:
        return self.epoch == 1 and self.step == 0

    @property
    def name(self) -> str:
        return f"step-{self.global_step:08d}-round-{self.round:05d}"


@dataclass(frozen=True)
class Checkpoint:
    """One verified folder. `settings` are those that its weights depend on."""

    path: StoragePath
    cursor: Cursor
    settings: dict[str, Any]


def save(
    folder: StoragePath, learner: Learner, cursor: Cursor, settings: Mapping[str, Any], kept: int,
    pause_s: float,
) -> StoragePath:  # fmt: skip
    """Durable on all ranks when it returns; all ranks call it together. Older ones beyond the
    `kept` newest are deleted. The same cursor again is a no-op. A disk that takes no writes is
    waited for, for `pause_s` seconds at most. Raises CheckpointError."""
    path = folder / cursor.name
    if learner.any_rank(storage.is_whole(path, MANIFEST)):
        return path
    aside = storage.staging(path)
    what = f"checkpoint {cursor.name}"
    if learner.rank == 0:
        patiently(lambda: _begin(folder, aside, path), what, pause_s)
    _barrier()

    def write() -> None:
        # Another driver may have taken over while this one was cut off from the bucket.
        if not learner.any_rank(learner.rank == 0 and _sealed_meanwhile(path)):
            _write_shards(aside, learner)

    patiently(write, what, pause_s)
    if learner.rank == 0:
        patiently(lambda: _finish(aside, path, cursor, settings), what, pause_s)
        patiently(lambda: _prune(folder, kept), f"the end of those before {what}", pause_s)
    _barrier()
    return path


def latest(folder: StoragePath) -> Checkpoint | None:
    """The newest checkpoint, verified; None if there is none. Raises CheckpointError for a
    damaged one: to go on from an older one is a person's decision."""
    newest = next(iter(_folders(folder)), None)
    return None if newest is None else verify(newest)


def finished(folder: StoragePath) -> dict[int, StoragePath]:
    """The kept checkpoints that ended a round, by the version whose weights they hold, in order."""
    cursors = {path: _manifest(path)[0].cursor for path in _folders(folder)}
    ended = {c.version: path for path, c in cursors.items() if c.between_rounds and c.version}
    return dict(sorted(ended.items()))


def verify(path: StoragePath) -> Checkpoint:
    """Raises CheckpointError naming the first file that is missing, added or altered."""
    found, stated = _manifest(path)
    foreign = storage.foreign(path, {MANIFEST, *stated})
    for name in sorted(foreign | set(stated)):
        fault = _fault(path / name, stated.get(name))
        if fault:
            raise CheckpointError(
                f"{printable(str(path / name))} {fault}: restore the folder {path} from a copy, or "
                "delete it to go on from the checkpoint before it."
            )
    return found


def restore(checkpoint: Checkpoint, learner: Learner) -> None:
    """Loads in place, at any number of ranks; all ranks call it together."""
    _load(checkpoint.path, learner.state())
    learner.steps = checkpoint.cursor.global_step


def read_weights(checkpoint: Checkpoint, learner: Learner, kind: Kind) -> dict[str, np.ndarray]:
    """The whole weights that `learner.weights(kind)` gave when the checkpoint was written; one
    rank may call it alone."""
    whole = {name: torch.empty(p.shape, dtype=p.dtype) for name, p in learner.params.items()}
    _load(checkpoint.path, {kind: whole}, no_dist=True)
    return {name: tensor.to(torch.float32).numpy() for name, tensor in whole.items()}


def _load(path: StoragePath, state: dict[str, Any], no_dist: bool = False) -> None:
    with _dcp_errors(f"{path} does not fit this policy",
                     "resume with the policy that the run was started with"):  # fmt: skip
        dcp.load(state, storage_reader=shards.reader(path), no_dist=no_dist)


@contextmanager
def _dcp_errors(fault: str, fix: str) -> Iterator[None]:
    """Their errors hold every rank's traceback and are no Exceptions; ours are one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as error:
        for cause, _ in error.failures.values():
            if (hindered := _no_room(cause)) is not None:
                raise hindered from error
        causes = "; ".join(sorted({str(cause) for cause, _ in error.failures.values()}))
        raise CheckpointError(f"{fault} ({causes}): {fix}.") from error


def _no_room(error: BaseException) -> OSError | None:
    """Returns the error of a disk that takes no writes, if that is what `error` comes of. Where room
    ends within a file, torch's writer of it raises one of its own over that of the disk, which is
    lost on the way from another rank."""
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        found.append(link)
        link = link.__cause__ or link.__context__
    if disk := [each for each in found if isinstance(each, OSError)]:
        return next((each for each in disk if each.errno in FULL), None)
    if any("unexpected pos" in str(each) for each in found):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def _begin(folder: StoragePath, aside: StoragePath, path: StoragePath) -> None:
    _remove_leftovers(folder, path)
    storage.begin(aside)


def _sealed_meanwhile(path: StoragePath) -> bool:
    """Never raises, for the other ranks wait for the answer."""
    with suppress(BucketSilent):
        return storage.is_whole(path, MANIFEST, patience_s=0)
    return False


def _write_shards(aside: StoragePath, learner: Learner) -> None:
    """All ranks together; what fails on one of them, a full disk too, all of them raise."""
    with _dcp_errors(f"{aside} could not be written",
                     "make room or allow writing there, then resume the run"):  # fmt: skip
        dcp.save(learner.state(), storage_writer=shards.writer(aside))


def _finish(
    aside: StoragePath, path: StoragePath, cursor: Cursor, settings: Mapping[str, Any]
) -> None:
    """Writes the manifest and gives the folder its name."""
    if storage.is_whole(path, MANIFEST):
        return storage.sync(path.parent)  # it got its name before the disk was full
    # Not what lies there: of a writer that is cut off but not dead some may be there, or gone.
    files = {name: _sha256(aside / name) for name in shards.written(aside)}
    body = {"cursor": asdict(cursor), "settings": dict(settings), "files": files}
    text = json.dumps(body | {"sha256": _body_hash(body)}, indent=2) + "\n"
    sealed_folder.finish(aside, path, MANIFEST, text.encode())


def _prune(folder: StoragePath, kept: int) -> None:
    """Deletes what is neither among the `kept` newest nor ended one of the newest rounds."""
    newest = list(_folders(folder))
    ended = list(finished(folder).values())
    for path in set(newest[kept:]) - set(ended[-KEPT_VERSIONS:]):
        storage.discard(path, MANIFEST)


def _remove_leftovers(folder: StoragePath, but: StoragePath) -> None:
    for name in storage.names(folder):
        left = name.startswith("step-") and not storage.is_whole(folder / name, MANIFEST)
        if left and folder / name != but:
            storage.remove(folder / name)


def _folders(folder: StoragePath) -> Iterator[StoragePath]:
    """The checkpoints in `folder`, newest first; what else lies there must be a leftover."""
    numbered = []
    for name in storage.names(folder):
        match = NAME.fullmatch(name)
        if match and storage.is_whole(folder / name, MANIFEST):
            numbered.append((int(match[1]), int(match[2]), folder / name))
        elif not (match or name.endswith(LEFTOVER)):
            raise CheckpointError(
                f"{printable(str(folder / name))} is not a checkpoint: move it out of {folder}, which holds nothing else."
            )
    return (path for *_, path in sorted(numbered, reverse=True))


def _manifest(path: StoragePath) -> tuple[Checkpoint, dict[str, str]]:
    """The checkpoint as its manifest states it, and the sha256 of each of its other files."""
    file = path / MANIFEST
    try:
        body = json.loads(storage.read(file))
        if body.pop("sha256") != _body_hash(body):
            raise ValueError("its checksum differs")
        cursor = _cursor(body["cursor"])
        if cursor.name != path.name:
            raise ValueError(f"it is that of a folder named {cursor.name}")
        return Checkpoint(path, cursor, dict(body["settings"])), dict(body["files"])
    except BucketSilent:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({one_line(error)}): restore the folder {path} from a copy, or delete it "
            "to go on from the checkpoint before it."
        ) from error


def _cursor(numbers: Mapping[str, Any]) -> Cursor:
    if numbers.keys() | {"skipped"} != vars(Cursor()).keys():  # which older ones do not have
        raise ValueError(f"the cursor has {describe(sorted(numbers))}")
    for name, value in numbers.items():
        if type(value) is not int or value < 0:
            raise ValueError(f"cursor.{name} is {describe(value)}, not a whole number from 0")
    return Cursor(**numbers)


def _body_hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _fault(file: StoragePath, stated: str | None) -> str:
    if stated is None:
        return "is not part of the checkpoint"
    try:
        if not storage.exists(file):
            return "is missing"
        return "" if _sha256(file) == stated else "is damaged (its checksum differs)"
    except BucketSilent:
        raise
    except OSError as error:
        return f"cannot be read ({one_line(error.strerror or error)})"


def _sha256(file: StoragePath) -> str:
    with storage.open_file(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _barrier() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
