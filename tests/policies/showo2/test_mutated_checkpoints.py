"""Whatever is changed in the files of a Show-o2: it is refused in one sentence, or loads as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policies.showo2.checkpoint import MARKS, Loaded, load
from policies.showo2.released import AUTOENCODER, LANGUAGE, WHOLE
from tests.mutations import BYTE_CHANGES, LINE_CHANGES, change_json_text, mutate_file
from tests.policies.showo2.small import CONFIG, write_folder

pytestmark = pytest.mark.slow

JSON = (change_json_text, change_json_text, *BYTE_CHANGES, *LINE_CHANGES)
TOKENIZER = "tokenizer.json"


def run(folder: Path, file: str, *how: Any) -> None:
    write_folder(folder, 0)
    mutate_file(load, folder, file, *how)


@pytest.mark.parametrize(
    ("file", "seed", "fields"),
    [
        (LANGUAGE, 80, {"rms_norm_eps": "language.norm_eps", "rope_theta": "language.rope_theta"}),
        (WHOLE, 81, {"image_latent_height": "own_side", "patch_size": "latent_patch"}),
    ],
)
def test_small_files(tmp_path: Path, file: str, seed: int, fields: dict[str, str]) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        stated, config = json.loads(data), loaded.module.config
        assert config.autoencoder == CONFIG.autoencoder and config.head == CONFIG.head
        for field, place in fields.items():
            found = config
            for name in place.split("."):
                found = getattr(found, name)
            assert field not in stated or stated[field] == found, field

    run(tmp_path / "showo2", file, seed, 160, JSON, require)


def test_tokenizer(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert loaded.files[TOKENIZER] == data
        marks = {getattr(loaded.form, field) for field in MARKS}
        text = "".join(MARKS.values())
        assert marks.isdisjoint(loaded.tokenizer.encode(text, add_special_tokens=False).ids)

    run(tmp_path / "showo2", TOKENIZER, 82, 160, JSON[1:], require)


def test_weights_that_are_pickled(tmp_path: Path) -> None:
    def require(loaded: Loaded, data: bytes) -> None:
        assert loaded.module.config == CONFIG

    run(tmp_path / "showo2", AUTOENCODER, 83, 60, BYTE_CHANGES, require)
