"""Mutated checkpoints of an Emu3: refused by name, or read as they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.emu3 import tiktoken
from policies.emu3.checkpoint import Loaded, load
from policies.emu3.tokens import REQUIRED
from tests.mutations import BYTE_CHANGES, LINE_CHANGES, change_json_text, mutate_file
from tests.policies.emu3.small import write_folder, write_original

pytestmark = pytest.mark.slow

JSON = (change_json_text, change_json_text, *BYTE_CHANGES, *LINE_CHANGES)
TEXT = (*BYTE_CHANGES, *LINE_CHANGES)


def ours(folder: Path) -> Path:
    write_folder(folder, 0)
    return folder


def released(folder: Path) -> Path:
    folder.mkdir()
    write_original(folder, 0)
    return folder


def test_config(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        text = json.loads(data)["text_config"]
        for field in ("hidden_size", "num_attention_heads", "rms_norm_eps"):
            own = loaded.net.config.text_config
            assert text.get(field, getattr(type(own), field)) == getattr(own, field)

    mutate_file(load, ours(tmp_path / "tiny"), "config.json", 70, 120, JSON, require)


def test_released_configs(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert loaded.net.config.text_config.hidden_size == 48

    for seed, file in enumerate(("config.json", "Emu3-VisionTokenizer/config.json"), 71):
        mutate_file(load, released(tmp_path / str(seed)), file, seed, 100, JSON, require)


def test_released_vocabulary(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        marks = {loaded.small.tokenizer.token_to_id(mark) for mark in REQUIRED.values()}
        text = "".join(REQUIRED.values())
        assert marks.isdisjoint(loaded.small.tokenizer.encode(text, add_special_tokens=False).ids)

    for seed, file in enumerate((tiktoken.RANKS, tiktoken.PICTURE_TOKENS), 73):
        mutate_file(load, released(tmp_path / str(seed)), file, seed, 100, TEXT, require)


def test_how_pictures_are_prepared(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert json.loads(data)["image_mean"] == [0.5] * 3 and loaded.small.area >= 64

    folder = ours(tmp_path / "tiny")
    mutate_file(load, folder, "preprocessor_config.json", 75, 100, JSON, require)
