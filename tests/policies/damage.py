"""What goes wrong with a checkpoint's folder, and how it must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.interface import CheckpointError
from tests.mutations import bounded

TOKENIZER = "tokenizer.json"
Damage = Callable[[Path], object]


def lose(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, left: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:left])


def unmark(mark: str) -> Damage:
    """The tokenizer without a token of structure."""

    def change(folder: Path) -> None:
        described = json.loads((folder / TOKENIZER).read_text())
        described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] != mark]
        (folder / TOKENIZER).write_text(json.dumps(described))

    return change


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def apply(folder: Path) -> None:
        held = load_file(folder / name)
        change(held)
        save_file(held, folder / name)

    return apply


def refused(load: Callable[[Path], object], folder: Path, message: str) -> None:
    """In one sentence that names the folder, without much work."""
    with pytest.raises(CheckpointError) as caught, bounded(message):
        load(folder)
    said = str(caught.value)
    assert message in said and str(folder) in said and "\n" not in said and len(said) < 1000
