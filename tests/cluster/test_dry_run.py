"""What a run takes of memory is arithmetic: the same by hand as in the table."""

from __future__ import annotations

from pathlib import Path

from cluster import dry_run, memory, recipe
from cluster.needs import Machine, needs
from policies.registry import footprint
from trainer.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
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
    config = recipe.load(ROOT / "configs/tiny.yaml")
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
    config = recipe.load(ROOT / "configs/tiny.yaml", ["solver.guidance=[1, 3, 3]"])
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
