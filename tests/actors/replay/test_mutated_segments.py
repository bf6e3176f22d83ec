"""4,500 mutated files of a replay log: each is named and refused, or is what was written."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.replay.buffer import ReplayBuffer
from actors.replay.records import JudgedGroup
from actors.replay.segments import encode, read_segment, segment_path
from policies.errors import printable
from tests.actors.replay.replay_samples import slice_of
from tests.mutations import (
    BYTE_CHANGES,
    Rng,
    change_json_text,
    mutants,
    overwrite,
    pick,
    tally,
    verdict,
)

pytestmark = pytest.mark.slow

GOOD = tuple(encode(1, index, slice_of(index)) for index in (0, 1))


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def holds(folder: Path, index: int) -> bool:
    """Whether the log has the slice; not one that was torn, which is set aside."""
    return index not in ReplayBuffer(folder).missing(1, 2)


def clear(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def test_changed_bytes_under_an_old_name_are_never_read(tmp_path: Path) -> None:
    paths = [segment_path(tmp_path, 1, index, data) for index, data in enumerate(GOOD)]
    same = 0
    for name, source, data in mutants(10, 2000, GOOD, BYTE_CHANGES):
        path = put(paths[source], data)
        groups = verdict(name, lambda path=path: read_segment(path), path)
        held = verdict(name, lambda source=source: holds(tmp_path, source), path)
        assert (groups is not None) == bool(held) == (data == GOOD[source]), name
        same += groups is not None
        clear(path)
    tally("segments", same, 2000, 0.0, 0.05)


def rename(random: Rng, name: str) -> str:
    digits = random.permutation(list("0123456789abcdef"))
    at = int(random.integers(len(name)))
    return pick(random, (
        name[:at] + str(digits[0]) + name[at + 1 :],
        name[:at] + name[at + 1 :],
        name[:at] + name[at:].swapcase(),
        name.replace("0000", "000", 1),
        name.replace("0000", "00000", 1),
        name.translate(str.maketrans("01", "\u0660\u0661")),
        name.replace("-", "\u2212"),
        name + "\n",
        name + ".tmp",
        re.sub(r"(\d{5})", lambda m: f"{int(m[1]) + int(random.integers(3)):05d}", name),
    ))  # fmt: skip


def test_a_segment_under_another_name_is_never_read(tmp_path: Path) -> None:
    names = [str(segment_path(Path(), 1, i, data)) for i, data in enumerate(GOOD)]
    same = 0
    for name, source, mutant in mutants(11, 1000, names, (rename,)):
        if mutant.count("/") != 1 or "" in mutant.split("/"):
            continue
        path = put(tmp_path / mutant, GOOD[source])
        groups = verdict(name, lambda path=path: read_segment(path), printable(str(path)))
        assert (groups is not None) == (mutant == names[source]), f"{name}: {mutant!r}"
        same += groups is not None
        path.unlink()
        path.parent.rmdir()
    print(f"\nnames: {same} unchanged and read, the others refused")


def reread(data: bytes) -> str:
    """What a segment says, read without this program's own code."""
    rows = pq.read_table(io.BytesIO(data), use_threads=False).to_pylist()
    for row in rows:
        for rollout in row["rollouts"]:
            with Image.open(io.BytesIO(rollout.pop("png"))) as image:
                rollout["picture"] = np.array(image).tolist()
    return json.dumps(rows, sort_keys=True)


def told(groups: Sequence[JudgedGroup]) -> str:
    """The same of groups."""
    rows = []
    for group in groups:
        rollouts = []
        for rollout in group.rollouts:
            picture, judgement = rollout.shown, vars(rollout.judgement)
            seldom = ("quantities", "signals")  # left out of the file where there are none
            said = {k: v for k, v in judgement.items() if v or k not in seldom}
            rollouts.append({
                "seed": rollout.seed, "temperature": rollout.temperature,
                "guidance": rollout.guidance, **said,
                "codes": None if picture.codes is None else picture.codes.tolist(),
                "picture": picture.pixels.tolist(),
            })  # fmt: skip
        rows.append({**vars(group), "rollouts": rollouts})
    return json.dumps(rows, sort_keys=True)


def test_changed_bytes_under_a_name_that_fits_them_are_read_as_they_are(tmp_path: Path) -> None:
    read = 0
    for name, _, data in mutants(12, 1000, GOOD[:1], (*BYTE_CHANGES, overwrite)):
        path = put(segment_path(tmp_path, 1, 0, data), data)
        groups = verdict(name, lambda path=path: read_segment(path), path)
        log = verdict(name, lambda: ReplayBuffer(tmp_path).read(1, 0, 9), path)
        if groups is not None:
            assert told(groups) == reread(data), name
            assert log and told(log[0][1]) == told(groups), name
        read += groups is not None
        clear(path)
    tally("sealed segments", read, 1000, 0.01, 0.5)


def test_the_end_of_a_round_is_what_was_written_or_refused(tmp_path: Path) -> None:
    buffer = ReplayBuffer(tmp_path)
    for index in (0, 1):
        buffer.append(1, index, slice_of(index))
    buffer.close_round(1, 2)
    path = tmp_path / "round-00001" / "closed.json"
    good = path.read_bytes()
    for name, _, data in mutants(13, 500, (good,), (*BYTE_CHANGES, change_json_text)):
        path.write_bytes(data)
        ends = verdict(name, lambda: ReplayBuffer(tmp_path).closed(1), path)
        assert (ends == 2) == (data == good), f"{name}: {data!r}"
