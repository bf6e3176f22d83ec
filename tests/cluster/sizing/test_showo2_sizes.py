"""Show-o2's recipe fits its GPUs by arithmetic, without a checkpoint or a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.recipes import recipe
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine
from policies.config import ConfigError, Showo2PolicyConfig
from policies.registry import footprint

RECIPE = Path(__file__).resolve().parents[3] / "configs" / "showo2.yaml"
GIB = 2**30
AUTOENCODER = 126_892_531
# By hand, of the public sizes: a layer of the flow head, of the semantic layers, and of each language model.
HEAD = (
    2048 * (2 * 2048 + 2 * 512) + 3 * 2048 * 8192 + 2048 * 6 * 2048 + 6 * 2048 + 2 * 2048 + 2 * 64
)
SEEN = 4 * (1152**2 + 1152) + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152


def layer(hidden: int, keys: int, inner: int) -> int:
    return 2 * hidden * (hidden + keys) + hidden + 2 * keys + 3 * hidden * inner + 2 * hidden


@pytest.mark.parametrize(
    ("name", "hidden", "keys", "inner", "tables", "drawing"),
    [
        ("show-o2-1.5B", 1536, 256, 8960, 1, 27 * 27),
        ("show-o2-1.5B-HQ", 1536, 256, 8960, 1, 64 * 64),
        ("show-o2-7B", 3584, 512, 18944, 2, 27 * 27),
    ],
)
def test_a_public_showo2_is_known_by_its_name(
    name: str, hidden: int, keys: int, inner: int, tables: int, drawing: int
) -> None:
    size = footprint(Showo2PolicyConfig(path=f"nowhere/{name}", dtype="bfloat16"))
    both = 1152 + hidden
    around = {
        "words": tables * 151_669 * hidden + hidden,
        "patches": 64 * (hidden + 1152) + hidden + 1152 + 27 * 27 * 1152,
        "fusion": both + both * hidden + hidden + hidden**2 + hidden,
        "time": 256 * 2048 + 2048 + 2048**2 + 2048 + 2048 * hidden + hidden,
        "to the head": hidden * 2048 + 2048 + 2048**2 + 2048,
        "velocities": 2048 + 2048 * 64 + 64 + 2048 * 4096 + 4096,
    }
    language = 28 * layer(hidden, keys, inner)
    assert size.trained == language + 10 * HEAD + 26 * SEEN + sum(around.values())
    assert size.parameters - size.trained == AUTOENCODER
    assert size.active == language + 10 * HEAD
    assert size.gathered == sum(around.values()) + 2 * max(HEAD, layer(hidden, keys, inner))
    assert (size.layers, size.words, size.drawing, size.token_side) == (38, 151_669, drawing, 16)
    assert size.cache_bytes == 2 * 2 * (28 * keys + 10 * 512)
    with pytest.raises(
        ConfigError, match=r"its name is none of show-o2-1\.5B, .*; give the folder"
    ):
        footprint(Showo2PolicyConfig(path="nowhere/show-o2"))


def test_the_recipe_fits_gpus_of_80_gb_by_hand_arithmetic() -> None:
    config = recipe.load(RECIPE)
    size = footprint(config.policy)
    replica = 2 * size.parameters + 6 * GIB
    own = config.solver
    rows, element = 2 * own.prompts_per_task * own.rollouts, 2
    kept = (
        8 * 2048 + 2 * 512 + 4 * 8192
    )  # of a token in a layer of the head, or less than in one of words
    kept = max(kept, 8 * 1536 + 2 * 256 + 4 * 8960)
    prompt = config.proposer.max_tokens + 16
    drawn = replica + rows * ((prompt + 729) * size.cache_bytes + 729 * kept * element)
    assert memory.solver(config, size) == drawn
    text = dry_run.table(config, size, Machine(256.0, 8.0))
    (line,) = [line for line in text.splitlines() if line.startswith("memory per GPU")]
    assert 20 < float(line.split()[3]) < 74.5
    assert "enough" in text.split("\nGPUs ")[1].split("\n")[0]
