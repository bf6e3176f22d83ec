"""Anole's recipe fits its GPUs by arithmetic, without a checkpoint or a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.recipes import recipe
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine
from policies.config import ChameleonPolicyConfig, ConfigError
from policies.registry import footprint

RECIPE = Path(__file__).resolve().parents[3] / "configs" / "anole.yaml"
GIB = 2**30
# By hand, of the public sizes. A layer: four square projections, three of the MLP, two norms, and the
# norms of the heads of q and k.
HIDDEN, INNER, LAYERS, WORDS = 4096, 11008, 32, 65_536
LAYER = 4 * HIDDEN**2 + 3 * HIDDEN * INNER + 2 * HIDDEN + 4 * HIDDEN
TRAINED = LAYERS * LAYER + 2 * WORDS * HIDDEN + HIDDEN
CACHE = 2 * LAYERS * HIDDEN * 2
VQGAN = 68_718_467  # 275 MB in float32, as leloy/Anole-7b-v0.1-vqvae-hf


def test_the_public_anole_is_known_by_its_name() -> None:
    size = footprint(ChameleonPolicyConfig(path="nowhere/Anole-7b-v0.1-hf", dtype="bfloat16"))
    assert (size.trained, size.active) == (TRAINED, LAYERS * LAYER)
    assert size.parameters == TRAINED + VQGAN and round(TRAINED / 1e9, 2) == 7.01
    assert size.gathered == TRAINED - (LAYERS - 2) * LAYER
    assert (size.drawing, size.codes, size.words) == (1024, 8192, WORDS)
    assert size.cache_bytes == CACHE == 512 * 1024
    assert size.adapter == LAYERS * (4 * 2 * HIDDEN + 3 * (HIDDEN + INNER))
    assert size.drawing_bytes == (512 * 512 * 3 + 4 * 1024) + 1024
    with pytest.raises(ConfigError, match=r"its name is none of Anole-7b-v0.1-hf; give the folder"):
        footprint(ChameleonPolicyConfig(path="nowhere/Anole"))


def test_the_recipe_fits_its_gpus_by_hand_arithmetic() -> None:
    config = recipe.load(RECIPE)
    size = footprint(config.policy)
    replica = 2 * size.parameters + 4 * GIB + 2 * VQGAN  # which stays in float32
    assert memory.solver(config, size) == replica + 4 * 8 * 2 * (192 + 16 + 1024) * CACHE
    assert memory.judge(config, size) == replica + 4 * 8 * (384 + 192 + 1024 + 256) * CACHE
    assert memory.proposer(config, size) == replica + 8 * (384 + 3 * 192) * CACHE
    text = dry_run.table(config, size, Machine(256.0, 8.0))
    (line,) = [line for line in text.splitlines() if line.startswith("memory per GPU")]
    assert 60 < float(line.split()[3]) < 74.5
    assert "enough" in text.split("\nGPUs ")[1].split("\n")[0]
