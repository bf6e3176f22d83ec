"""The recipe of a language model with an outside decoder fits its GPUs by arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.recipes import recipe
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine
from policies.config import ConfigError, ExternalPolicyConfig
from policies.registry import footprint

ROOT = Path(__file__).resolve().parents[3]
GIB = 2**30
# Of the public models: Stable Diffusion's denoiser and autoencoder; Qwen2.5-VL-3B and its encoder.
UNET, AUTOENCODER, LANGUAGE, SEEING = 859_520_964, 83_653_863, 3_754_622_976, 668_684_288
BRIDGE = 64 * 2048 + 2048 * 768 + 768
TRAINED = LANGUAGE - SEEING + BRIDGE


def test_a_public_pair_is_known_by_its_name() -> None:
    size = footprint(
        ExternalPolicyConfig(path="nowhere/Qwen2.5-VL-3B-with-SD-1.5", dtype="bfloat16")
    )
    assert size.parameters == LANGUAGE + BRIDGE + UNET + AUTOENCODER
    assert size.trained == TRAINED  # the words' table is the head too, and counted once
    assert size.cache_bytes == 36 * 2 * 2 * 128 * 2 == 36 * 1024
    assert (size.drawing, size.seen, size.redrawn) == (64, 18 * 18, 18 * 18 - 64)
    assert size.drawing * size.codes == 4 * 64 * 64
    one = 2 * (2048 + 2048) + 2 * (2048 + 256) + 3 * (2048 + 11008)
    assert size.adapter == 36 * one + (2048 + 768)
    with pytest.raises(ConfigError, match=r"its name is none of Qwen2\.5-VL-3B-with-SD-1\.5; give"):
        footprint(ExternalPolicyConfig(path="nowhere/Qwen"))


def test_the_recipe_fits_its_gpus_by_hand_arithmetic() -> None:
    config = recipe.load(ROOT / "configs/external.yaml")
    size = footprint(config.policy)
    replica = 2 * size.parameters + 6 * GIB
    rows, step = 4 * 8 * 2, 32 * 320 * 64 * 64
    drawn = replica + rows * (192 + 16 + 64) * 36 * 1024 + rows * 2 * step
    assert memory.solver(config, size) == drawn
    held = 20 * TRAINED // 2 + 4 * (size.parameters - TRAINED)
    assert held + 6 * size.gathered < memory.trainer_worker(config, size) < 60 * GIB
    text = dry_run.table(config, size, Machine(256.0, 8.0))
    (line,) = [line for line in text.splitlines() if line.startswith("memory per GPU")]
    assert 40 < float(line.split()[3]) < 74.5
    assert "enough" in text.split("\nGPUs ")[1].split("\n")[0]
