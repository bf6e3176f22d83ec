"""Losers teach: what is learned from winners against them, and by what reference."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from actors.roles.templates import load_templates
from policies.config import changed
from policies.interface import Example, Pattern
from tests.trainer.small import TRAINER, group, meeting_place, small_batch, small_policy
from trainer import checkpoint
from trainer.batches import shares_for_rank
from trainer.checkpoint import Cursor
from trainer.config import ContrastConfig, RunConfig
from trainer.learner import Learner
from trainer.patterns import reconstruct

AGAINST = ContrastConfig(weight=0.7, beta=0.3, losers=0.4)
HOW = changed(TRAINER, contrast=AGAINST, clip=1e9, micro_batch=1)
Batch = dict[Pattern, tuple[Example, ...]]


def paired(step: int, losers: tuple[int, ...] = (0, 2)) -> Batch:
    """A batch in which some winners have a loser."""
    batch = small_batch(step)
    other = [each.target for each in small_batch(step + 50)["generation"]]
    batch["generation"] = tuple(
        replace(each, worse=other[i]) if i in losers else each
        for i, each in enumerate(batch["generation"])
    )
    return batch


def step(learner: Learner, batch: Batch) -> Any:
    return learner.step({
        p: shares_for_rank(examples, learner.rank, learner.world, learner.config.micro_batch)
        for p, examples in batch.items()
    })  # fmt: skip


def likelihood(learner: Learner, example: Example) -> torch.Tensor:
    return -learner.policy.loss([example])["codes"].totals[0]


def test_the_loss_and_its_gradient_are_the_papers() -> None:
    learner, batch = Learner(small_policy(), HOW), {"generation": paired(1)["generation"]}
    for weight in learner.contrast.reference.values():  # not what learns any more
        weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    fresh, before = small_policy(), small_policy()
    before.module.load_state_dict({**learner.contrast.reference}, strict=False)
    done = step(learner, batch)
    (term,) = fresh.loss(batch["generation"]).values()
    loss, against = term.total / term.count, torch.zeros(())
    for winner in (batch["generation"][0], batch["generation"][2]):
        loser = replace(winner, target=winner.worse)
        won, lost = (
            before.loss([each])["codes"].total.detach() - fresh.loss([each])["codes"].total
            for each in (winner, loser)
        )
        assert abs(won.item()) > 0.1 and abs(lost.item()) > 0.1
        against = against - torch.log(torch.sigmoid(0.3 * won)) / 2
        against = against - 0.4 * torch.log(torch.sigmoid(-0.3 * lost)) / 2
    assert done.contrast == pytest.approx(against.item(), rel=1e-5) and done.pairs == 2
    assert done.losses["generation"] == pytest.approx(loss.item(), rel=1e-5)
    (loss + 0.7 * against).backward()
    for name, param in fresh.module.named_parameters():
        np.testing.assert_allclose(learner.params[name].grad, param.grad, atol=1e-6, err_msg=name)


def test_winners_gain_and_losers_lose() -> None:
    learner = Learner(small_policy(), changed(HOW, contrast=changed(AGAINST, weight=5.0)))
    plain = Learner(small_policy(), TRAINER)
    batch = {"generation": paired(1)["generation"]}
    winner = batch["generation"][0]
    loser = replace(winner, target=winner.worse)
    told = []
    for each in (learner, plain):
        before = [likelihood(each, example).item() for example in (winner, loser)]
        for _ in range(20):
            step(each, batch)
        after = [likelihood(each, example).item() for example in (winner, loser)]
        told.append([b - a for a, b in zip(before, after, strict=True)])
    (won, lost), (also, kept) = told
    assert won > 0 and also > 0 and lost < -1 and lost < kept - 1


def test_what_passes_forward_is_counted_by_whether_it_passes_back() -> None:
    learner, batch = Learner(small_policy(), HOW), paired(1)
    winners = sum(learner.policy.lengths(batch["generation"]))
    losers = sum(learner.policy.lengths([
        replace(each, target=each.worse) for each in batch["generation"] if each.worse
    ]))  # fmt: skip
    others = sum(sum(learner.policy.lengths(batch[p])) for p in batch if p != "generation")
    # Of three winners, each a share of its own, one has no loser and takes its own place.
    (alone,) = learner.policy.lengths(batch["generation"][1:2])
    done = step(learner, batch)
    assert done.referenced == winners + losers + alone
    assert done.passed == winners + others + losers + alone
    plain = step(Learner(small_policy(), TRAINER), batch)
    assert (plain.passed, plain.referenced) == (winners + others, 0)


def test_without_losers_nothing_changes() -> None:
    against, plain = (
        Learner(small_policy(), HOW),
        Learner(small_policy(), changed(HOW, contrast={})),
    )
    for number in (1, 2):
        done = step(against, small_batch(number))
        assert (done.contrast, done.pairs) == (0.0, 0)
        assert step(plain, small_batch(number)) == done
    ours, theirs = against.weights("model"), plain.weights("model")
    assert all(np.array_equal(array, theirs[name]) for name, array in ours.items())


def rank_main(rank: int, place: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    learner = Learner(small_policy(), HOW)
    rows = [step(learner, paired(1)), step(learner, paired(2, (1,)))]
    learner.anchor("ema")
    checkpoint.save(Path(folder) / "checkpoints", learner, Cursor(2, 1, 0, 2), {}, 2, 1.0)
    rows += [step(learner, paired(3)), step(learner, paired(4, ()))]
    torch.save({"rows": rows, "model": learner.weights("model")}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_hold_against_each_other_what_one_does(tmp_path: Path) -> None:
    """Though one rank has no loser in some steps; and a checkpoint keeps the reference."""
    mp.spawn(rank_main, args=(meeting_place(), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{r}.pt", weights_only=False) for r in range(2))
    plain = Learner(small_policy(), HOW)
    rows = [step(plain, paired(1)), step(plain, paired(2, (1,)))]
    plain.anchor("ema")
    rows += [step(plain, paired(3)), step(plain, paired(4, ()))]
    assert first["rows"] == second["rows"] and [row.pairs for row in rows] == [2, 1, 2, 0]
    for ours, theirs in zip(rows, first["rows"], strict=True):
        assert ours.contrast == pytest.approx(theirs.contrast, rel=1e-5)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-5)
    assert rows[2].contrast != pytest.approx(
        math.log(2) * 1.4, rel=1e-6
    )  # it is anchored elsewhere
    again = Learner(small_policy(seed=1), HOW)
    found = checkpoint.latest(tmp_path / "checkpoints")
    assert found is not None
    checkpoint.restore(found, again)
    assert step(again, paired(3)).contrast == pytest.approx(rows[2].contrast, rel=1e-5)
    step(again, paired(4, ()))
    for learner in (plain, again):
        for name, array in learner.weights("model").items():
            np.testing.assert_allclose(array, first["model"][name], rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    "scores, worse",
    [((9.0, 2.0, 5.0, 2.0), {1, 3}), ((9.0, 6.5, None, 7.0), set()), ((9.0, 6.0, 9.0, 8.0), {1})],
)
def test_the_worst_drawing_by_a_margin_is_held_against_the_best(
    scores: tuple[float | None, ...], worse: set[int]
) -> None:
    judged, templates = group(3, scores), load_templates("tiny")
    trainer = changed(TRAINER, contrast=AGAINST)
    seen = set()
    for seed in range(20):
        made = reconstruct(judged, RunConfig(seed=seed, trainer=trainer), templates)
        usual = reconstruct(judged, RunConfig(seed=seed), templates)
        assert {p: replace(e, worse=()) for p, e in made.items()} == usual
        assert not any(each.worse for p, each in made.items() if p != "generation")
        seen |= {i for i, r in enumerate(judged.rollouts) if r.output is made["generation"].worse}
        assert bool(made["generation"].worse) == bool(worse)
    assert seen == worse
    rejected = replace(judged, reason="best score 5 is under 7")
    rules = changed(RunConfig().reconstruction, judged="all")
    made = reconstruct(rejected, RunConfig(trainer=trainer, reconstruction=rules), templates)
    assert not any(each.worse for each in made.values())
