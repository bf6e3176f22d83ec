"""BAGEL's recipes fit their GPUs by arithmetic, without a checkpoint or a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import cli
from cluster.recipes import recipe
from cluster.refusals import REFUSED
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine
from policies.config import BagelPolicyConfig, ConfigError
from policies.registry import footprint

ROOT = Path(__file__).resolve().parents[3]
GIB = 2**30
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
BAGEL = [path for path in SHIPPED if path.stem.startswith("bagel")]
AUTOENCODER = 83_800_000
# By hand, of the public sizes: keys and values of a token, what a layer keeps of one, and bytes of a
# replica's weights and workspace.
CACHE, LAYER = 28 * 2 * 4 * 128 * 2, 8 * 3584 + 2 * 512 + 4 * 18944
TRAINED = 14_575_018_464
SEEN = 70 * 70


def test_the_public_bagel_is_known_by_its_name() -> None:
    size = footprint(BagelPolicyConfig(path="nowhere/BAGEL-7B-MoT", dtype="bfloat16"))
    assert round((size.parameters - AUTOENCODER) / 1e9, 3) == 14.607
    assert size.trained == TRAINED and size.cache_bytes == CACHE == 56 * 1024
    assert (size.drawing, size.seen, size.redrawn) == (64 * 64, SEEN, 37 * 37)
    layer = 2 * (3584 * (3584 + 2 * 512) + 3584 + 2 * 512 + 3584**2 + 3 * 3584 * 18944)
    layer += 2 * (2 * 128 + 2 * 3584)
    assert 2 * size.active == 28 * layer  # a word takes one expert of two
    assert size.gathered == pytest.approx(1.15e9 - 0.4e9 + 0.36e9 + 2 * layer, rel=0.02)
    one = 7 * (3584 + 3584) + 3 * (18944 - 3584) + 2 * (512 - 3584)
    assert size.adapter == 28 * 2 * one
    half = footprint(BagelPolicyConfig(path="nowhere/BAGEL-7B-MoT", adapters="generation"))
    assert half.adapter * 2 == size.adapter
    with pytest.raises(ConfigError, match=r"its name is none of BAGEL-7B-MoT; give the folder"):
        footprint(BagelPolicyConfig(path="nowhere/BAGEL"))


def test_the_recipe_fits_its_gpus_by_hand_arithmetic() -> None:
    config = recipe.load(ROOT / "configs/bagel-unicorn.yaml")
    size = footprint(config.policy)
    replica = 2 * size.parameters + 6 * GIB
    rows = 8 * 2
    drawn = replica + rows * (2048 + 16 + 4096) * CACHE + rows * 4096 * LAYER * 2
    assert memory.solver(config, size) == drawn
    assert memory.judge(config, size) == replica + 8 * (384 + 2048 + SEEN + 2048) * CACHE
    assert memory.proposer(config, size) == replica + 4 * (384 + 4 * 2048) * CACHE
    tokens = 384 + 2048 + 2048 + 2 * 4096 + 37 * 37  # a reflection, which micro_tokens is below
    kept = tokens * (28 * 3584 + LAYER) * 2 + 2048 * 152_064 * 10
    held = 20 * TRAINED // 6 + 4 * (size.parameters - TRAINED) + 6 * size.gathered
    assert memory.trainer_worker(config, size) == held + kept + 6 * GIB


def test_an_image_guidance_is_a_third_pass_and_smaller_drawings_take_fewer_tokens() -> None:
    path = ROOT / "configs/bagel-unicorn.yaml"

    def drawn(*overrides: str) -> int:
        config = recipe.load(path, overrides)
        size = footprint(config.policy)
        return memory.solver(config, size) - 2 * size.parameters - 6 * GIB

    assert drawn("solver.image_guidance=[2]") == pytest.approx(drawn() * 3 / 2)
    row = (2048 + 16 + 1024) * CACHE + 1024 * LAYER * 2
    assert drawn("solver.size=[512, 512]") == 16 * row
    planned = 16 * (64 + 2 * 16) * CACHE
    assert drawn("policy.think=64") == drawn() + planned


def test_a_worker_holds_frozen_weights_as_it_computes_with_them() -> None:
    config = recipe.load(ROOT / "configs/bagel-unicorn-lora.yaml")
    size = footprint(config.policy)
    plain = recipe.load(ROOT / "configs/bagel-unicorn-lora.yaml", ["trainer.precision=float32"])
    saved = memory.trainer_worker(plain, size) - memory.trainer_worker(config, size)
    assert saved > 2 * TRAINED


@pytest.mark.parametrize("path", BAGEL, ids=lambda path: path.stem)
def test_every_gpu_of_a_bagel_recipe_has_80_gb(path: Path) -> None:
    config = recipe.load(path)
    text = dry_run.table(config, footprint(config.policy), Machine(256.0, 8.0))
    (line,) = [line for line in text.splitlines() if line.startswith("memory per GPU")]
    assert 40 < float(line.split()[3]) < 74.5
    assert "replicas of a host map one copy of each version" in text
    assert "host memory 54.73 GiB for each training worker" in text
    assert ("enough" in text.split("\nGPUs ")[1].split("\n")[0]) == ("cluster" not in path.stem)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_tried_dry(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    made_first = recipe.load(path).policy.path.startswith("toys/")
    code = cli.main(["run", str(path), "--dry-run"])
    said = capsys.readouterr()
    if made_first and not (ROOT / recipe.load(path).policy.path).exists():
        assert (
            code == REFUSED and "policy.path is 'toys/" in said.err and "Traceback" not in said.err
        )
    else:
        assert code == 0 and "memory of each" in said.out
