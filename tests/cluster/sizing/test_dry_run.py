"""What a run takes of memory is arithmetic: the same by hand as in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.recipes import recipe
from cluster.sizing import dry_run, memory
from cluster.sizing.needs import Machine, needs
from policies.registry import footprint
from trainer.config import RunConfig

ROOT = Path(__file__).resolve().parents[3]
GIB = 2**30


def rows(config: RunConfig, machine: Machine) -> dict[str, list[str]]:
    """By actor, what stands in the table behind it."""
    text = dry_run.table(config, footprint(config.policy), machine)
    actors = [need.actor for need in needs(config)]
    lines = [line for line in text.splitlines() if line.startswith(tuple(actors))]
    assert len(lines) == len(actors)
    return {
        actor: line.removeprefix(actor).split() for actor, line in zip(actors, lines, strict=True)
    }


def test_the_table_has_all_actors_and_a_verdict() -> None:
    config = recipe.load(ROOT / "configs/tiny-paper.yaml")
    found = rows(config, Machine(2.0, 0.0))
    assert found["weight store"] == ["1", "0", "0", "0", "0"]
    assert found["solver"][:5] == ["2", "0.3", "0.6", "0", "0"] and found["solver"][-1] == "host"
    size = footprint(config.policy)
    assert "CPUs 2 of 2 here: enough\nGPUs 0 of 0" in dry_run.table(config, size, Machine(2.0, 0.0))
    less = dry_run.table(config, size, Machine(1.9, 0.0))
    assert "too few, a run would be refused: 2 of 2 trainer workers would wait" in less
    nobody = dry_run.table(config, size, Machine(float("inf"), float("inf")))
    assert "CPUs 2 of a cluster's" in nobody and "GPUs 0 of a cluster's" in nobody


def test_the_tiny_models_memory_is_counted_by_hand() -> None:
    config = recipe.load(ROOT / "configs/tiny-paper.yaml", ["solver.guidance=[1, 3, 3]"])
    size = footprint(config.policy)
    cache = 2 * 6 * 2 * 32 * 4  # keys and values, layers, heads, width, float32
    assert size.cache_bytes == cache
    rest = 4 * size.parameters + size.workspace_bytes
    # 8 rollouts, of which 0, 3 and 6 are unguided: 3 + 2 x 5 rows a prompt.
    assert memory.solver(config, size) == rest + 16 * 13 * (40 + 16 + 36) * cache
    assert memory.judge(config, size) == rest + 16 * 8 * 3 * (32 + 40 + 36 + 64) * cache
    assert memory.proposer(config, size) == rest + 16 * (32 + 3 * 40) * cache
    drawings = 2 * 3 * 16 * 8  # in flight, replicas of solver and judge, a task's prompts, rollouts
    assert memory.object_store(config, size) == 4 * 4 * size.trained + drawings * 8192


# By hand: parameters; those that are learned; what a training worker gathers, outside
# of layers and two layers; bytes of keys and values a token: 2 x layers x hidden x 2.
SIZES = {
    "1b": (2_076_636_811, 2_004_753_408, 469_310_464 + 2 * 51_384_320, 2 * 24 * 2048 * 2, 24, 2048),
    "7b": (7_407_773_323, 7_335_889_920, 962_130_944 + 2 * 202_383_360, 2 * 30 * 4096 * 2, 30, 4096),
}  # fmt: skip
# Prompts of a Proposer's and of a Solver's task, workers, examples at once; GPUs; GiB of a replica.
NODES = {
    "janus-pro-1b": (16, 16, 2, 2, "7.5", (10.68, 44.62, 40.87, 27.30)),
    "janus-pro-7b": (8, 6, 4, 1, "7.75", (21.31, 52.25, 48.74, 47.08)),
    "janus-pro-1b-cluster": (16, 16, 8, 1, "32", (10.68, 44.62, 40.87, 12.72)),
    "janus-pro-7b-cluster": (8, 8, 8, 1, "32", (21.31, 63.74, 59.05, 31.60)),
}


@pytest.mark.parametrize("name", NODES)
def test_a_janus_recipe_fits_its_gpus_by_hand_arithmetic(name: str) -> None:
    """Without a checkpoint or a GPU."""
    config = recipe.load(ROOT / f"configs/{name}.yaml")
    parameters, trained, gathered, cache, layers, hidden = SIZES[name.split("-")[2]]
    written, drawn, workers, at_once, gpus, printed = NODES[name]
    replica = 2 * parameters + 4 * GIB
    inner = {2048: 5632, 4096: 11008}[hidden]
    tokens = 384 + 192 + 256 + 2 * 576
    activations = 2 * tokens * (layers * hidden + 10 * hidden + 4 * inner) + 10 * 256 * 102_400
    held = 20 * trained // workers + 4 * (parameters - trained)
    learning = held + 6 * gathered + at_once * activations
    expected = {
        "proposer": replica + written * (384 + 3 * 192) * cache,
        "solver": replica + drawn * 8 * 2 * (192 + 16 + 576) * cache,
        "judge": replica + drawn * 8 * (384 + 192 + 576 + 256) * cache,
        "trainer worker": max(learning, 4 * parameters) + 4 * GIB,  # or while it loads
    }
    found = rows(config, Machine(float("inf"), float("inf")))
    for (actor, size), gib in zip(expected.items(), printed, strict=True):
        assert found[actor][-3:] == [f"{size / GIB:.2f}", "GiB", "GPU"], actor
        assert found[actor][-3] == f"{gib:.2f}" and gib < 74.5  # 80 GB
    text = dry_run.table(config, footprint(config.policy), Machine(256.0, 8.0))
    assert f"GPUs {gpus} of 8 here: {'too few' if 'cluster' in name else 'enough'}" in text


@pytest.mark.parametrize("name", ["janus-pro-1b", "janus-pro-7b"])
def test_a_proposer_and_a_judge_share_a_gpu_of_80_gb(name: str) -> None:
    config = recipe.load(ROOT / f"configs/{name}.yaml")
    size = footprint(config.policy)
    assert config.proposer.gpus + config.judge.gpus == 1
    assert memory.proposer(config, size) + memory.judge(config, size) < 80e9
