"""How large a model is follows from its architecture, with or without a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.config import ConfigError, PolicyConfig
from policies.footprint import Footprint
from policies.interface import CheckpointError
from policies.janus.sizes import KNOWN
from policies.registry import footprint
from policies.tiny.policy import TinyPolicy
from tests.policies.tiny import small

pytest.importorskip("transformers")


def janus(path: Path | str, dtype: str = "bfloat16") -> Footprint:
    return footprint(PolicyConfig("janus", str(path), dtype))


def test_the_tiny_policy_is_as_large_as_what_it_loads(policy: TinyPolicy, folder: Path) -> None:
    found = footprint(PolicyConfig("tiny", str(folder)))
    trained = sum(weight.numel() for weight in policy.module.parameters())
    assert found.trained == trained == sum(w.size for w in policy.weights().values())
    seen = sum(weight.numel() for weight in policy.vision.parameters())
    assert found.parameters == trained + seen
    assert (found.drawing, found.cache_bytes) == (36, 2 * 2 * 2 * 8 * 4)
    units = [sum(w.numel() for w in unit.parameters()) for unit in policy.fsdp_units()]
    assert found.gathered == trained - sum(units) + 2 * units[0]
    wider = small(hidden_size=64)
    wider.save_pretrained(folder)
    assert footprint(PolicyConfig("tiny", str(folder))).trained > trained


def test_a_tiny_folder_without_a_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read \(No such file"):
        footprint(PolicyConfig("tiny", str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "billions", "layers", "hidden", "kib"),
    [("Janus-Pro-1B", 2.077, 24, 2048, 192), ("Janus-Pro-7B", 7.408, 30, 4096, 480)],
)
def test_a_public_janus_is_known_by_its_name(
    name: str, billions: float, layers: int, hidden: int, kib: int
) -> None:
    found = janus(f"nowhere/{name}")
    assert round(found.parameters / 1e9, 3) == billions
    assert found.parameters - found.trained == 71_883_403  # the image tokenizer
    assert (found.layers, found.hidden, found.drawing) == (layers, hidden, 576)
    assert (found.words, found.codes) == (102_400, 16_384)
    assert found.cache_bytes == kib * 1024 == 2 * layers * hidden * 2
    assert janus(f"nowhere/{name}", "float32").cache_bytes == 2 * found.cache_bytes
    assert found.drawing_bytes == 436 * 1024  # 384 x 384 x 3 bytes of pixels and a little
    assert found.devices == ("cpu", "cuda")


def test_a_folders_own_config_counts_before_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "Janus-Pro-7B"
    folder.mkdir()
    config = json.loads((KNOWN / "Janus-Pro-1B.json").read_text())
    config["text_config"]["num_hidden_layers"] = 2
    del config["tie_word_embeddings"]  # true unless it is said
    (folder / "config.json").write_text(json.dumps(config))
    whole, small = janus("Janus-Pro-1B"), janus(folder)
    assert whole.parameters - small.parameters == 22 * (4 * 2048**2 + 3 * 2048 * 5632 + 2 * 2048)
    (folder / "config.json").write_text('{"model_type": "multi_modality"}')
    assert janus(folder) == janus("Janus-Pro-7B")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "names no model_type"),
        ("[]", "names no model_type"),
        ('{"model_type": "llama"}', "is of model_type 'llama'; a Janus has"),
        ('{"model_type": "janus", "text_config": 3}', "is not a Janus config: "),
    ],
)
def test_a_config_of_another_kind_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        janus(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_says_nothing_is_named_with_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.path is .*none of Janus-Pro-1B, Janus-Pro-7B;"):
        janus(tmp_path / "somewhere")
