"""A checkpoint is known by all of its files with weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies import stored_tensors
from policies.config import TinyPolicyConfig
from policies.registry import files_digest, is_checkpoint
from policies.showo import checkpoint as showo
from policies.showo2 import checkpoint as showo2
from policies.showo2.released import AUTOENCODER

SHARDS = ("model-00001-of-00002.safetensors", "diffusion_pytorch_model-00001-of-00002.bin")
NAMES = {
    *stored_tensors.NAMES, *showo.NAMES, *showo.MAGVITS, *showo2.MODELS, AUTOENCODER, *SHARDS
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(name for name in NAMES if not name.endswith(".json")))
def test_other_weights_have_another_digest(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    seen = [files_digest(TinyPolicyConfig(path=str(tmp_path)))]
    for held in (b"one", b"other"):
        (tmp_path / name).write_bytes(held)
        seen.append(files_digest(TinyPolicyConfig(path=str(tmp_path))))
    assert len(set(seen)) == 3 and is_checkpoint(tmp_path)


def test_other_files_are_not_weights(tmp_path: Path) -> None:
    before = files_digest(TinyPolicyConfig(path=str(tmp_path)))
    for name in ("config.json", "tokenizer.json", "README.md"):
        (tmp_path / name).write_bytes(b"{}")
    assert files_digest(TinyPolicyConfig(path=str(tmp_path))) == before and not is_checkpoint(
        tmp_path
    )
