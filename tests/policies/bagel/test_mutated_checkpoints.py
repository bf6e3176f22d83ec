"""Mutated checkpoints of a BAGEL: refused by name, or read as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load as tensors_of

from policies.bagel.checkpoint import AUTOENCODER, MARKS, MODEL, Loaded, load
from policies.bagel.released import LANGUAGE, VISION, WHOLE
from tests.mutations import (
    BYTE_CHANGES,
    LINE_CHANGES,
    change_json_text,
    mutate_file,
)
from tests.policies.bagel.small import CONFIG, write_folder
from tests.policies.test_mutated_checkpoints import change_header

pytestmark = pytest.mark.slow

JSON = (change_json_text, change_json_text, *BYTE_CHANGES, *LINE_CHANGES)
TOKENIZER = "tokenizer.json"


def run(folder: Path, file: str, *how: Any) -> None:
    write_folder(folder, 0)
    mutate_file(load, folder, file, *how)


@pytest.mark.parametrize(
    ("file", "seed", "fields"),
    [
        (
            LANGUAGE,
            70,
            {"hidden_size": "language.hidden_size", "rms_norm_eps": "language.norm_eps"},
        ),
        (VISION, 71, {"layer_norm_eps": "vision.norm_eps", "patch_size": "vision.patch"}),
        (WHOLE, 72, {"latent_patch_size": "latent_patch", "timestep_shift": "timestep_shift"}),
    ],
)
def test_small_files(tmp_path: Path, file: str, seed: int, fields: dict[str, str]) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        stated, config = json.loads(data), loaded.module.config
        assert config.autoencoder == CONFIG.autoencoder
        for field, place in fields.items():
            found = config
            for name in place.split("."):
                found = getattr(found, name)
            assert field not in stated or stated[field] == found, field

    run(tmp_path / "bagel", file, seed, 160, JSON, require)


def test_tokenizer(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert loaded.files[TOKENIZER] == data
        marks = {getattr(loaded.form, field) for field in MARKS}
        text = "".join(MARKS.values())
        assert marks.isdisjoint(loaded.tokenizer.encode(text, add_special_tokens=False).ids)

    run(tmp_path / "bagel", TOKENIZER, 73, 200, JSON[1:], require)


@pytest.mark.parametrize(("file", "seed"), [(MODEL, 74), (AUTOENCODER, 75)])
def test_weights(tmp_path: Path, file: str, seed: int) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        whole = loaded.module if file == MODEL else loaded.autoencoder
        found, wanted = whole.state_dict(), tensors_of(data)
        assert found.keys() >= wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_array_equal(found[name].numpy(), tensor.float().numpy(), name)

    run(tmp_path / "bagel", file, seed, 120, (change_header, change_header, *BYTE_CHANGES), require)
