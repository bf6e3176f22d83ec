"""2,000 mutated checkpoints of a tiny policy: refused by name, or read as they were saved."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from policies.tiny.checkpoint import CONFIG, FILES, MODEL, SUMS, VISION, seal
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import TOKENIZER_FILE
from policies.tiny.vision import VisionConfig
from tests.mutations import (
    BYTE_CHANGES,
    LINE_CHANGES,
    Change,
    Rng,
    change_json,
    change_json_text,
    mutants,
    pick,
    tally,
    verdict,
)

pytestmark = pytest.mark.slow

Files = dict[str, bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As small as can be."""
    sizes = {"hidden_size": 8, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 4}
    vision = VisionConfig(size=8, levels=(2, 2), channels=(8, 8, 8), blocks=0)
    policy = TinyPolicy.create(["red"], 0, vision, **sizes, intermediate_size=8, max_positions=16)
    policy.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def contents(folder: Path) -> Files:
    return {name: (folder / name).read_bytes() for name in (*FILES, SUMS)}


def written(folder: Path, good: Files, files: Files) -> Path:
    """The folder with `files`, and nothing else; what did not change is left as it is."""
    for name in {*good, *files}:
        if name not in files:
            (folder / name).unlink()
        elif files[name] != good.get(name):
            (folder / name).write_bytes(files[name])
    return folder


def harm(random: Rng, files: Files) -> Files:
    """Other bytes in a file, or another set of files, or files under each other's names."""
    changed = dict(files)
    if not files:
        return files
    one, other = pick(random, sorted(files)), pick(random, sorted(files))
    action = int(random.integers(12))
    if action == 0:
        del changed[one]
    elif action == 1:
        changed[one], changed[other] = files[other], files[one]
    else:
        changed[one] = pick(random, BYTE_CHANGES)(random, files[one])
    return changed


def test_changed_files_are_refused(folder: Path) -> None:
    good, same = contents(folder), 0
    for name, _, files in mutants(30, 800, (good,), (harm,)):
        written(folder, good, files)
        policy = verdict(name, lambda: TinyPolicy.from_pretrained(folder), folder)
        if policy is not None:
            assert all(files.get(file) == good[file] for file in FILES), name
        same += policy is not None
        written(folder, files, good)
    tally("tiny checkpoints", same, 800, 0.0, 0.19)


def change_header(random: Rng, data: bytes) -> bytes:
    """Names, shapes, dtypes and offsets of a file of tensors; or the length of their list."""
    try:
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
    except (ValueError, struct.error, RecursionError, OverflowError):
        return pick(random, BYTE_CHANGES)(random, data)
    tensors = data[8 + size :]
    changed = json.dumps(_entries(random, header)).encode()
    lengths = (len(changed),) * 8 + (0, 2**62, 10**18, len(changed) + 1)
    return struct.pack("<Q", pick(random, lengths)) + changed + tensors


def _entries(random: Rng, header: dict[str, Any]) -> Any:
    if not isinstance(header, dict) or random.random() < 0.4:
        return change_json(random, header)
    names = [name for name, entry in header.items() if isinstance(entry, dict)]
    one, other = (dict(header[pick(random, names)]) for _ in range(2))
    odd = ({"dtype": "F16"}, {"dtype": "F64"}, {"dtype": "Q9"}, {"shape": [10**18]}, {"shape": []},
           {"shape": [2**32, 2**32]}, {"shape": [-1, 8]}, {"data_offsets": [0, 10**18]},
           {"data_offsets": [4, 0]}, other, {"shape": other.get("shape")})  # fmt: skip
    return header | {pick(random, names): one | pick(random, odd)}


CHANGES: dict[str, tuple[Change, ...]] = {
    CONFIG: (change_json_text, change_json_text, *BYTE_CHANGES, *LINE_CHANGES),
    TOKENIZER_FILE: (change_json_text, *BYTE_CHANGES, *LINE_CHANGES),
    MODEL: (change_header, change_header, *BYTE_CHANGES),
    VISION: (change_header, change_header, *BYTE_CHANGES),
}


@pytest.mark.parametrize("file", FILES)
def test_a_sealed_checkpoint_is_read_as_it_is_or_refused(folder: Path, file: str) -> None:
    good, read = contents(folder), 0
    saved = TinyPolicy.from_pretrained(folder)
    for name, _, data in mutants(31 + FILES.index(file), 300, (good[file],), CHANGES[file]):
        (folder / file).write_bytes(data)
        seal(folder)
        policy = verdict(name, lambda: TinyPolicy.from_pretrained(folder), folder)
        if policy is not None:
            _require_as_told(policy, saved, file, data, name)
        read += policy is not None
    tally(f"sealed {file}", read, 300, 0.0, 0.5)


def _require_as_told(
    policy: TinyPolicy, saved: TinyPolicy, file: str, data: bytes, name: str
) -> None:
    """What was read is what the file says to its own library alone."""
    if file == CONFIG:
        config, wanted = policy.module.config, json.loads(data)
        assert policy.vision.config == saved.vision.config, name
        assert config.rope_theta == wanted["rope_theta"], name
        assert config.norm_eps == wanted["rms_norm_eps"], name
        assert config.max_positions == wanted["max_position_embeddings"], name
    if file == TOKENIZER_FILE:
        try:
            vocabulary = json.loads(data)["model"]["vocab"]
        except ValueError:  # the library takes a name without a value too, and skips it
            vocabulary = saved.text.tokenizer.get_vocab()
        assert policy.text.tokenizer.get_vocab() == vocabulary, name
    if file == MODEL:
        own, wanted = policy.weights(), load(data)
        for public, ours in (("model.norm", "norm"), ("lm_head", "head")):
            np.testing.assert_array_equal(own[f"{ours}.weight"], wanted[f"{public}.weight"], name)
    if file == VISION:
        for key, tensor in policy.vision.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), load(data)[key], name)
