"""Mutated checkpoints of a Chameleon: refused by name, or read as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load as tensors_of

from policies.chameleon.checkpoint import DECODER, VQ, Loaded, load
from policies.chameleon.extras import CONFIG, PREPROCESSOR, PROCESSOR
from policies.chameleon.tokens import REQUIRED
from tests.mutations import BYTE_CHANGES, LINE_CHANGES, change_json_text, mutate_file
from tests.policies.chameleon.small import write_folder
from tests.policies.test_mutated_checkpoints import change_header

pytestmark = pytest.mark.slow

JSON = (change_json_text, change_json_text, *BYTE_CHANGES, *LINE_CHANGES)
TOKENIZER, MODEL = "tokenizer.json", "model.safetensors"


def run(folder: Path, file: str, *how: Any) -> None:
    write_folder(folder, 0)
    mutate_file(load, folder, file, *how)


def test_config(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        stated, config = json.loads(data), loaded.net.config
        assert stated["model_type"] == "chameleon" and not config.tie_word_embeddings
        for field in ("hidden_size", "num_attention_heads", "rms_norm_eps", "swin_norm"):
            assert stated.get(field, getattr(type(config), field)) == getattr(config, field)

    run(tmp_path / "chameleon", CONFIG, 80, 160, JSON, require)


@pytest.mark.parametrize(("file", "seed"), [(PREPROCESSOR, 81), (PROCESSOR, 82)])
def test_how_pictures_are_prepared(tmp_path: Path, file: str, seed: int) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        stated = json.loads(data)
        assert abs(loaded.scale / 0.0078 - 1) < 0.01
        assert stated.get("resample") in (None, 1) and stated.get("image_seq_length") in (None, 16)

    run(tmp_path / "chameleon", file, seed, 120, JSON, require)


def test_tokenizer(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert loaded.extras[TOKENIZER] == data
        marks = {getattr(loaded.special, field) for field in REQUIRED}
        text = "".join(REQUIRED.values()) + "IMGIMGAZIMGIMGBCZ"
        ids = set(loaded.tokenizer.encode(text, add_special_tokens=False).ids)
        assert not ids & (marks | set(loaded.special.codes.tolist()))

    run(tmp_path / "chameleon", TOKENIZER, 83, 200, JSON[1:], require)


def test_weights(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        found = dict(loaded.net.state_dict())
        for prefix, part in ((VQ, loaded.vq), (DECODER, loaded.decoder)):
            found |= {prefix + name: tensor for name, tensor in part.state_dict().items()}
        wanted = tensors_of(data)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_array_equal(found[name].numpy(), tensor.float().numpy(), name)

    changes = (change_header, change_header, *BYTE_CHANGES)
    run(tmp_path / "chameleon", MODEL, 84, 120, changes, require)
