"""Emu3's recipe fits its GPUs by arithmetic, without a checkpoint or a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.recipes import recipe
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine
from policies.config import ConfigError, Emu3PolicyConfig
from policies.registry import footprint

ROOT = Path(__file__).resolve().parents[3]
GIB = 2**30
# By hand, of the public sizes.
CACHE, LAYER = 32 * 2 * 8 * 128 * 2, 8 * 4096 + 2 * 1024 + 4 * 14336
VOCABULARY, TRAINED, TOKENIZER = 184_622, 8_492_011_520, 270_740_287
DRAWING = 64 * 65 + len("64*64") + 4


def test_the_public_emu3_is_known_by_its_name() -> None:
    size = footprint(Emu3PolicyConfig(path="nowhere/Emu3-Stage1", dtype="bfloat16"))
    layer = 2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336 + 2 * 4096
    table = VOCABULARY * 4096
    assert size.trained == TRAINED == 32 * layer + 2 * table + 4096
    assert size.parameters - size.trained == TOKENIZER
    assert size.active == 32 * layer and size.gathered == 2 * table + 4096 + 2 * layer
    assert size.cache_bytes == CACHE == 128 * 1024
    assert (size.drawing, size.words, size.codes) == (DRAWING, VOCABULARY, VOCABULARY)
    assert size.adapter == 32 * (7 * (4096 + 4096) + 3 * (14336 - 4096) + 2 * (1024 - 4096))
    with pytest.raises(ConfigError, match=r"none of Emu3-Stage1, Emu3-Chat, .*; give the folder"):
        footprint(Emu3PolicyConfig(path="nowhere/Emu3"))


def test_the_recipe_fits_its_gpus_by_hand_arithmetic() -> None:
    config = recipe.load(ROOT / "configs/emu3.yaml")
    size = footprint(config.policy)
    replica = 2 * (TRAINED + TOKENIZER) + 6 * GIB + 2 * TOKENIZER
    assert memory.solver(config, size) == replica + 4 * 8 * 2 * (192 + 16 + DRAWING) * CACHE
    assert memory.judge(config, size) == replica + 32 * (384 + 192 + DRAWING + 256) * CACHE
    assert memory.proposer(config, size) == replica + 8 * (384 + 3 * 192) * CACHE
    kept = (384 + 192 + 256 + 2 * DRAWING) * (32 * 4096 + LAYER) * 2 + DRAWING * VOCABULARY * 10
    held = 20 * TRAINED // 4 + 4 * TOKENIZER + 6 * size.gathered
    workspace = 6 * GIB + 2 * TOKENIZER
    assert memory.trainer_worker(config, size) == held + kept + workspace
    text = dry_run.table(config, size, Machine(1024.0, 8.0))
    (line,) = [line for line in text.splitlines() if line.startswith("memory per GPU")]
    assert 40 < float(line.split()[3]) < 74.5
    assert "enough" in text.split("\nGPUs ")[1].split("\n")[0]


def test_a_judge_reads_drawings_of_the_recipes_size() -> None:
    usual = recipe.load(ROOT / "configs/emu3.yaml")
    small = recipe.load(ROOT / "configs/emu3.yaml", ["solver.size=[256, 256]"])
    size = footprint(usual.policy)
    fewer = memory.judge(usual, size) - memory.judge(small, size)
    assert fewer == 32 * (DRAWING - 32 * 32) * CACHE
