"""How large a model is follows from its architecture, with or without a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from policies.config import ConfigError, JanusPolicyConfig, TinyPolicyConfig
from policies.footprint import Footprint
from policies.interface import CheckpointError
from policies.janus.checkpoint import load
from policies.janus.policy import JanusPolicy
from policies.registry import footprint
from policies.tiny.policy import TinyPolicy
from tests.policies.janus import tiny_folder
from tests.policies.test_janus_original import original
from tests.policies.tiny import small


def janus(path: Path | str, dtype: str = "bfloat16") -> Footprint:
    return footprint(JanusPolicyConfig(path=str(path), dtype=dtype))


def test_the_tiny_policy_is_as_large_as_what_it_loads(policy: TinyPolicy, folder: Path) -> None:
    found = footprint(TinyPolicyConfig(path=str(folder)))
    trained = sum(weight.numel() for weight in policy.module.parameters())
    assert found.trained == trained == sum(w.size for w in policy.weights().values())
    seen = sum(weight.numel() for weight in policy.vision.parameters())
    assert found.parameters == trained + seen
    assert (found.drawing, found.cache_bytes) == (36, 2 * 2 * 2 * 8 * 4)
    units = [sum(w.numel() for w in unit.parameters()) for unit in policy.fsdp_units()]
    assert found.gathered == trained - sum(units) + 2 * units[0]
    assert found.active == sum(units)
    wider = small(hidden_size=64)
    wider.save_pretrained(folder)
    assert footprint(TinyPolicyConfig(path=str(folder))).trained > trained


def test_a_tiny_folder_without_a_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read \(No such file"):
        footprint(TinyPolicyConfig(path=str(tmp_path)))


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


@pytest.mark.parametrize("write", [tiny_folder, original], ids=["transformers", "DeepSeek"])
def test_a_folders_own_config_counts_before_its_name(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    """In both layouts, and before the weights are there."""
    folder = write(tmp_path / "Janus-Pro-7B")
    parameters = dict(load(folder).net.named_parameters())
    for weights in folder.glob("*model*"):
        weights.unlink()
    found = janus(folder)
    assert found.parameters == sum(weight.numel() for weight in parameters.values())
    trained = {name: w for name, w in parameters.items() if not name.startswith("model.vqmodel.")}
    assert found.trained == sum(weight.numel() for weight in trained.values())
    layers = (w for name, w in trained.items() if "language_model.layers." in name)
    assert found.active == sum(weight.numel() for weight in layers) > 0


def test_adapters_are_counted_by_their_rank(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    policy = JanusPolicy.from_pretrained(folder)
    policy.adapt(3, 3)
    assert 3 * janus(folder).adapter == sum(array.size for array in policy.weights().values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "holds [], which is no object"),
        ('{"model_type": "llama"}', "is of model_type 'llama'; a Janus"),
        ('{"model_type": "janus", "text_config": 3}', "text_config"),
    ],
)
def test_a_config_of_another_kind_is_named(tmp_path: Path, text: str, said: str) -> None:
    folder = tiny_folder(tmp_path / "janus")
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        janus(folder)
    assert str(folder / "config.json") in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_says_nothing_is_named_with_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.path is .*none of Janus-Pro-1B, Janus-Pro-7B;"):
        janus(tmp_path / "somewhere")
