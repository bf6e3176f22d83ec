"""Sharded learning equals plain learning, and a restored learner is the same learner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from policies.config import changed
from policies.interface import Example, Part, Pattern, learned
from tests.trainer.small import NUMBERS, TRAINER, meeting_place, small_batch, small_policy
from trainer import checkpoint
from trainer.batches import shares_for_rank
from trainer.checkpoint import Cursor
from trainer.config import KindWeights
from trainer.learner import Learner, TrainingDiverged

STEPS = 5


def learn(learner: Learner, first: int, last: int) -> list[dict[str, Any]]:
    """The figures of steps `first`..`last`, as every rank sees them."""
    rows = []
    for step in range(first, last + 1):
        learned = learner.step(shares(learner, small_batch(step)))
        rows.append({"losses": learned.losses, "tokens": learned.tokens, "norm": learned.grad_norm})
    return rows


def shares(learner: Learner, batch: dict[Pattern, tuple[Example, ...]]) -> Any:
    rank, world, size = learner.rank, learner.world, learner.config.micro_batch
    return {p: shares_for_rank(examples, rank, world, size) for p, examples in batch.items()}


def rank_main(rank: int, world: int, place: str, folder: str) -> None:
    """Learns STEPS steps, checkpointing in the middle, and writes down what came out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world)
    learner = Learner(small_policy(), TRAINER)
    rows = learn(learner, 1, 2)
    checkpoint.save(Path(folder), learner, Cursor(1, 1, 2, 2), {}, 2, 1.0)
    rows += learn(learner, 3, STEPS)
    out = {"rows": rows, "ema": learner.weights("ema"), "model": learner.weights("model")}
    torch.save(out, Path(folder).parent / f"rank-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """What both ranks of a world of two wrote down, and the folder of their checkpoint."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(rank_main, args=(2, meeting_place(), str(folder / "checkpoints")), nprocs=2)
    outs = [torch.load(folder / f"rank-{r}.pt", weights_only=False) for r in range(2)]
    return outs, folder / "checkpoints"


def require_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def require_near(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-6, err_msg=name)


def test_two_sharded_ranks_learn_what_one_plain_process_learns(two_ranks) -> None:
    (first, second), _ = two_ranks
    plain = Learner(small_policy(), TRAINER)
    rows = learn(plain, 1, STEPS)
    assert first["rows"] == second["rows"]
    for ours, theirs in zip(rows, first["rows"], strict=True):
        assert ours["tokens"] == theirs["tokens"]
        assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-6)
        assert ours["norm"] == pytest.approx(theirs["norm"], rel=1e-5)
    for kind in ("ema", "model"):
        require_equal(first[kind], second[kind])
        require_near(plain.weights(kind), first[kind])
    moved = first["model"]["head.weight"] - small_policy().weights()["head.weight"]
    assert np.abs(moved).max() > TRAINER.lr


def test_a_checkpoint_of_two_ranks_goes_on_in_one_process(two_ranks) -> None:
    (first, _), folder = two_ranks
    plain = Learner(small_policy(seed=1), TRAINER)
    found = checkpoint.latest(folder)
    assert found is not None and found.cursor == Cursor(1, 1, 2, 2)
    checkpoint.restore(found, plain)
    learn(plain, 3, STEPS)
    require_near(plain.weights("ema"), first["ema"])


def test_what_is_published_has_the_names_and_shapes_that_replicas_load() -> None:
    policy = small_policy()
    shapes = {name: array.shape for name, array in policy.weights().items()}
    learner = Learner(policy, TRAINER)
    for kind in ("ema", "model"):
        weights = learner.weights(kind)
        assert {name: array.shape for name, array in weights.items()} == shapes
        assert all(array.dtype == np.float32 for array in weights.values())


def test_given_away_weights_do_not_change_with_the_next_step() -> None:
    learner = Learner(small_policy(), TRAINER)
    before = learner.weights("model")
    copies = {name: array.copy() for name, array in before.items()}
    learn(learner, 1, 1)
    require_equal(before, copies)
    assert any((learner.weights("model")[name] != copies[name]).any() for name in copies)


def test_the_average_and_the_warm_up_follow_their_definitions() -> None:
    learner = Learner(small_policy(), TRAINER)
    start = learner.weights("model")
    lrs = [learner.step(shares(learner, small_batch(s))).lr for s in (1, 2, 3)]
    assert lrs == pytest.approx([TRAINER.lr / 2, TRAINER.lr, TRAINER.lr])
    again = Learner(small_policy(), TRAINER)
    expected = start
    for step in (1, 2, 3):
        learn(again, step, step)
        expected = {name: 0.9 * old + 0.1 * again.weights("model")[name]
                    for name, old in expected.items()}  # fmt: skip
    require_near(learner.weights("ema"), expected)


def test_each_pattern_counts_by_its_own_tokens() -> None:
    """The loss of a pattern is the mean over its tokens, summed over patterns with weights."""
    policy = small_policy()
    batch = small_batch(1)
    learner = Learner(policy, TRAINER)
    learned = learner.step(shares(learner, batch))
    fresh = small_policy()
    for pattern, examples in batch.items():
        parts = fresh.loss(examples).values()
        total, tokens = sum(p.total.item() for p in parts), sum(p.count for p in parts)
        assert learned.losses[pattern] == pytest.approx(total / tokens, rel=1e-6)
        assert learned.tokens[pattern] == tokens


def test_each_kind_counts_by_its_own_tokens_and_weight() -> None:
    """A plan and the picture: the means of both kinds, each by its weight, and their gradients."""
    made = small_batch(1)["generation"]
    batch = [replace(e, target=(Part(f"{n} red"), *e.target)) for n, e in zip(NUMBERS, made)]
    how = changed(TRAINER, clip=1e9, kind_weights=KindWeights(text=0.1))
    learner = Learner(small_policy(), how)
    done = learner.step({"generation": shares_for_rank(batch, 0, 1, 2)})
    fresh = small_policy()
    terms = fresh.loss(batch)
    assert {kind: term.count for kind, term in terms.items()} == {"text": 6, "codes": 21}
    means = {kind: term.total / term.count for kind, term in terms.items()}
    assert done.kinds["generation"] == pytest.approx({k: m.item() for k, m in means.items()})
    loss = 0.1 * means["text"] + means["codes"]
    assert done.losses["generation"] == pytest.approx(loss.item()) and done.tokens == {
        "generation": 27
    }
    loss.backward()
    for name, param in fresh.module.named_parameters():
        assert torch.allclose(learner.params[name].grad, param.grad, atol=1e-6), name


def test_a_gradient_that_is_no_number_is_refused_and_harms_nothing() -> None:
    learner = Learner(small_policy(), TRAINER)
    before = learner.weights("ema")
    batch = small_batch(1)
    name, head = list(learner.params.items())[-1]
    kept = head.detach().clone()
    with torch.no_grad():
        head[0, 0] = float("inf")
    with pytest.raises(TrainingDiverged, match=r"gradient of step 1 is nan.*trainer\.lr"):
        learner.step(shares(learner, batch))
    with torch.no_grad():
        head.copy_(kept)
    require_equal(learner.weights("ema"), before)
    assert learner.steps == 0 and name == "head.weight"


def test_frozen_weights_are_named_as_the_difference() -> None:
    policy = small_policy()
    policy.module.norm.requires_grad_(False)
    with pytest.raises(ValueError, match=r"differ in norm\.weight: weights\(\) must name"):
        Learner(policy, TRAINER)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_examples_are_shared_out_without_loss_or_repeat(size: int) -> None:
    examples = [Example((str(i),), learned("x"), "caption") for i in range(5)]
    for world in (1, 2, 3, 7):
        ranks = [shares_for_rank(examples, rank, world, size) for rank in range(world)]
        every = [share for rank in ranks for share in rank]
        taught = [e.context for share in every if share.weight for e in share.examples]
        assert sorted(taught) == sorted(e.context for e in examples)
        assert all(0 < len(share.examples) <= (size or 5) for share in every)
        assert len({len(rank) for rank in ranks}) == 1
        assert all(any(share.weight for share in places) for places in zip(*ranks, strict=True))
