"""The recipe of a model that calls tools fits its GPUs by arithmetic, without a checkpoint or a tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.recipes import recipe
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine
from policies.config import ConfigError, ToolsPolicyConfig
from policies.registry import footprint

ROOT = Path(__file__).resolve().parents[3]
GIB = 2**30
# By hand, of the public sizes: keys and values of a token, and what a layer keeps of one.
CACHE, LAYER = 36 * 2 * 2 * 128 * 2, 8 * 2048 + 2 * 256 + 4 * 11008
PARAMETERS = 3_754_622_976
"""As its safetensors index counts them, without the head, which is tied."""
SEEN = 37 * 37  # 1,024 pixels in patches of 14, two of them to a token


def test_the_public_model_is_known_by_its_name() -> None:
    tools = ("draw=endpoint:m",)
    size = footprint(
        ToolsPolicyConfig(path="nowhere/Qwen2.5-VL-3B-Instruct", tools=tools, dtype="bfloat16")
    )
    assert size.parameters == size.trained == PARAMETERS and size.cache_bytes == CACHE
    layer = 2048 * (2 * 2048 + 2 * 256) + 2048 + 2 * 256 + 3 * 2048 * 11008 + 2 * 2048
    assert size.active == 36 * layer and size.layer_elements == LAYER
    assert size.drawing == 2 * 256 + SEEN and size.seen == SEEN
    assert size.drawing * size.codes == pytest.approx(2 * 256 * 151_936, rel=1e-3)
    one = 2 * (2048 + 2048) + 2 * (2048 + 256) + 3 * (2048 + 11008)
    assert size.adapter == 36 * one
    with pytest.raises(
        ConfigError, match="its name is none of Qwen2.5-VL-3B-Instruct; give the folder"
    ):
        footprint(ToolsPolicyConfig(path="nowhere/Qwen", tools=tools))
    with pytest.raises(ConfigError, match="policy.tools is empty"):
        footprint(ToolsPolicyConfig(path="nowhere/Qwen2.5-VL-3B-Instruct"))


def test_the_recipe_fits_its_gpus_by_hand_arithmetic() -> None:
    config = recipe.load(ROOT / "configs/tools.yaml")
    size = footprint(config.policy)
    replica = 2 * PARAMETERS + (4 + 12) * GIB
    drawing = 2 * 192 + SEEN
    assert memory.solver(config, size) == replica + 2 * 8 * (192 + 16 + drawing) * CACHE
    assert memory.judge(config, size) == replica + 2 * 8 * (384 + 192 + SEEN + 256) * CACHE
    tokens = 384 + 192 + 256 + 2 * drawing
    kept = tokens * (36 * 2048 + LAYER) * 2 + drawing * size.codes * 10
    held = 20 * PARAMETERS // 2 + 6 * size.gathered
    assert memory.trainer_worker(config, size) == pytest.approx(held + kept + 16 * GIB, rel=1e-6)
    text = dry_run.table(config, size, Machine(256.0, 8.0))
    (line,) = [line for line in text.splitlines() if line.startswith("memory per GPU")]
    assert 40 < float(line.split()[3]) < 74.5
    assert "enough" in text.split("\nGPUs ")[1].split("\n")[0]
