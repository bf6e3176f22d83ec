"""Show-o's recipe fits its GPUs by arithmetic, without a checkpoint or a GPU."""

from __future__ import annotations

from pathlib import Path

from cluster.recipes import recipe
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine
from policies.config import ShowoPolicyConfig
from policies.registry import footprint

ROOT = Path(__file__).resolve().parents[3]
GIB = 2**30
# By hand, of the public sizes: keys and values of a token, what a layer keeps of one, and the weights.
CACHE, LAYER = 24 * 2 * 2048 * 2, 8 * 2048 + 2 * 2048 + 4 * 8192
VOCABULARY = 50_295 + 10 + 8_192 + 1
ATTENTION = 4 * (2048**2 + 2048) + 2 * 2 * 64  # with the norms of queries and keys
DECODER = ATTENTION + 2 * 2048 * 8192 + 8192 + 2048 + 2 * 2048
TRAINED = 24 * DECODER + 2 * VOCABULARY * 2048 + VOCABULARY + 2 * 2048
MAGVIT = 95_387_004
"""As the public class counts its own."""


def test_the_public_show_o_is_known_by_its_name() -> None:
    size = footprint(ShowoPolicyConfig(path="nowhere/show-o-512x512", dtype="bfloat16"))
    assert (size.trained, size.parameters) == (TRAINED, TRAINED + MAGVIT)
    assert size.words == VOCABULARY == 58_498
    assert (size.drawing, size.cache_bytes, size.layer_elements) == (1024, CACHE, LAYER)
    assert size.active == 24 * DECODER
    assert size.adapter == 24 * (4 * 2 * 2048 + 2 * (2048 + 8192))
    small = footprint(ShowoPolicyConfig(path="nowhere/show-o"))
    assert (small.drawing, small.trained) == (256, TRAINED)


def test_the_recipe_fits_its_gpus_by_hand_arithmetic() -> None:
    config = recipe.load(ROOT / "configs/showo.yaml")
    size = footprint(config.policy)
    replica = 2 * (TRAINED + MAGVIT) + 6 * GIB
    rows = 8 * 8 * 2
    drawn = rows * (192 + 16 + 1024) * CACHE + rows * 1024 * LAYER * 2
    assert memory.solver(config, size) == replica + drawn
    assert memory.judge(config, size) == replica + 64 * (384 + 192 + 1024 + 256) * CACHE
    text = dry_run.table(config, size, Machine(64.0, 8.0))
    (line,) = [line for line in text.splitlines() if line.startswith("memory per GPU")]
    assert 40 < float(line.split()[3]) < 74.5
    assert "enough" in text.split("\nGPUs ")[1].split("\n")[0]
