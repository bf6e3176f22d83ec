"""Mutated checkpoints of a Janus: refused by name, or read as they stand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_of

from policies import saving
from policies.janus.checkpoint import Loaded, load, save
from policies.janus.tokens import OPTIONAL, REQUIRED
from tests.mutations import (
    BYTE_CHANGES,
    LINE_CHANGES,
    change_json_text,
    mutate_file,
)
from tests.policies.janus import tiny_folder
from tests.policies.test_janus_original import original
from tests.policies.test_mutated_checkpoints import change_header

pytestmark = pytest.mark.slow

CONFIG, MODEL, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
INDEX, BIN = "model.safetensors.index.json", "pytorch_model.bin"


JSON = (change_json_text, change_json_text, *BYTE_CHANGES, *LINE_CHANGES)


def test_config(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        stated, config = json.loads(data), loaded.net.config
        assert stated["model_type"] == "janus" and not config.tie_word_embeddings
        text, own = stated["text_config"], config.text_config
        for field in ("hidden_size", "num_attention_heads", "rms_norm_eps"):
            assert text.get(field, getattr(type(own), field)) == getattr(own, field)

    mutate_file(load, tiny_folder(tmp_path / "tiny"), CONFIG, 60, 160, JSON, require)


def test_original_config(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert json.loads(data)["language_config"]["hidden_size"] == 64

    mutate_file(load, original(tmp_path / "own"), CONFIG, 61, 120, JSON, require)


def test_tokenizer(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert loaded.extras[TOKENIZER] == data
        marks = set(vars(loaded.special).values()) - {None}
        text = "".join((*REQUIRED.values(), *OPTIONAL.values()))
        assert marks.isdisjoint(loaded.tokenizer.encode(text, add_special_tokens=False).ids)

    changes = (change_json_text, *BYTE_CHANGES, *LINE_CHANGES)
    mutate_file(load, tiny_folder(tmp_path / "tiny"), TOKENIZER, 62, 200, changes, require)


def test_weights(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        found, wanted = loaded.net.state_dict(), tensors_of(data)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_array_equal(found[name].numpy(), tensor.float().numpy(), name)

    changes = (change_header, change_header, *BYTE_CHANGES)
    mutate_file(load, tiny_folder(tmp_path / "tiny"), MODEL, 63, 120, changes, require)


def test_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    saved = load(folder)
    monkeypatch.setattr(saving, "SHARD", "1MB")
    save(folder, saved)

    def require(loaded: Loaded, data: bytes) -> None:
        for name, tensor in saved.net.state_dict().items():
            assert torch.equal(tensor, loaded.net.state_dict()[name]), name

    (folder / "note.txt").write_text("no shard")
    mutate_file(load, folder, INDEX, 64, 60, JSON, require)


def test_pickled_weights(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert len(data) > 2_800_000

    mutate_file(load, original(tmp_path / "own"), BIN, 65, 100, BYTE_CHANGES, require)
