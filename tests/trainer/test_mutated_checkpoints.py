"""2,600 mutated checkpoints: each is named and refused, or says what it said."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policies.tiny.policy import TinyPolicy
from policies.tiny.vision import VisionConfig
from tests.mutations import (
    BYTE_CHANGES,
    LINE_CHANGES,
    Rng,
    change_json,
    change_json_text,
    mutants,
    pick,
    tally,
    verdict,
)
from tests.trainer.small import TRAINER
from trainer import checkpoint
from trainer.checkpoint import MANIFEST, Checkpoint, Cursor
from trainer.learner import Learner

pytestmark = pytest.mark.slow

CURSOR = Cursor(2, 1, 3, 7, 1)
SETTINGS = {"seed": 3, "trainer.betas": [0.9, 0.95], "publish": "ema", "x": {"y": 1e-15, "z": None}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one checkpoint, of a model as small as can be."""
    sizes = {"hidden_size": 8, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 4}
    vision = VisionConfig(size=8, levels=(2,), channels=(8, 8, 8), blocks=0)
    policy = TinyPolicy.create(["red"], 0, vision, **sizes, intermediate_size=8)
    folder = tmp_path_factory.mktemp("whole")
    checkpoint.save(folder, Learner(policy, TRAINER), CURSOR, SETTINGS, 2, 1.0)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Iterator[Path]:
    """The checkpoint itself, free to be damaged."""
    shutil.copytree(whole, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / CURSOR.name


def newest(folder: Path, name: str) -> Checkpoint | None:
    return verdict(name, lambda: checkpoint.latest(folder.parent), folder)


def without_sum(data: bytes) -> Any:
    body = json.loads(data)
    del body["sha256"]
    return json.dumps(body, sort_keys=True)


def test_a_changed_manifest_is_refused_unless_it_says_the_same(folder: Path) -> None:
    manifest, same = folder / MANIFEST, 0
    good = manifest.read_bytes()
    changes = (*BYTE_CHANGES, *LINE_CHANGES, change_json_text)
    for name, _, data in mutants(20, 1000, (good,), changes):
        manifest.write_bytes(data)
        found = newest(folder, name)
        if found is not None:
            assert without_sum(data) == without_sum(good), f"{name}: {data!r}"
            assert (found.path, found.cursor, found.settings) == (folder, CURSOR, SETTINGS), name
        same += found is not None
    tally("manifests that say the same", same, 1000, 0.0, 0.2)


def sealed(body: Any) -> str:
    """A manifest with the checksum that fits it, where it can have one."""
    text = json.dumps(body, sort_keys=True)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({**body, "sha256": sha256}) if isinstance(body, dict) else text


def test_a_sealed_manifest_is_believed_in_its_settings_alone(folder: Path) -> None:
    manifest, read = folder / MANIFEST, 0
    good = json.loads(without_sum(manifest.read_bytes()))
    for name, _, body in mutants(21, 600, (good,), (change_json,)):
        manifest.write_text(sealed(body))
        found = newest(folder, name)
        if found is not None:
            assert json.dumps(found.settings) == json.dumps(dict(body["settings"])), name
            assert body["files"] == good["files"], name
            assert vars(found.cursor) == {"skipped": 0, **body["cursor"]}, name
            assert found.cursor.name == CURSOR.name, name
        read += found is not None
    tally("sealed manifests", read, 600, 0.02, 0.67)


def harm(random: Rng, files: dict[str, bytes]) -> dict[str, bytes]:
    """Other bytes in a file, or another set of files, or files under each other's names."""
    files = dict(files)
    if not files:
        return files
    one, other = pick(random, sorted(files)), pick(random, sorted(files))
    action = int(random.integers(len(BYTE_CHANGES) + 4)) - 4
    if action == -4:
        del files[one]
    elif action == -3:
        files[one], files[other] = files[other], files[one]
    elif action == -2:
        files[pick(random, ("stray", one + "~", "state.jsonl", "new\nline", ".x"))] = files[other]
    elif action == -1:
        files[one + "x"] = files.pop(one)
    else:
        files[one] = BYTE_CHANGES[action](random, files[one])
    return files


def test_changed_files_are_refused(folder: Path) -> None:
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    same = 0
    for name, _, files in mutants(22, 1000, (good,), (harm,)):
        shutil.rmtree(folder)
        folder.mkdir()
        for file, data in files.items():
            (folder / file).write_bytes(data)
        found = newest(folder, name)
        alike = files.keys() == good.keys() and all(
            file == MANIFEST or data == good[file] for file, data in files.items()
        )
        assert found is None or (alike and found.cursor == CURSOR), name
        assert found is not None or files != good, name
        same += found is not None
    tally("shards", same, 1000, 0.0, 0.2)


def test_a_checkpoint_under_another_name_is_refused(folder: Path) -> None:
    for name in (
        "step-00000007-round-00003", "step-00000008-round-00002", "step-000000007-round-00002",
        "step-0000000\u0667-round-00002", "step-00000007-round-00002.old", "step-7-round-2", "a\nb",
    ):  # fmt: skip
        renamed = folder.rename(folder.with_name(name))
        assert verdict(name, lambda: checkpoint.latest(folder.parent), folder.parent) is None
        renamed.rename(folder)
    assert newest(folder, "unchanged") is not None
