"""A step whose loss is no number is passed over, named and counted, the same on all ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from actors.roles.templates import load_templates
from actors.storage import events
from cluster.report.troubles import troubles
from policies.config import changed
from policies.interface import Example, LossKind, LossTerm
from policies.tiny.policy import TinyPolicy
from tests.trainer.small import TRAINER, meeting_place, small_batch, small_policy
from tests.trainer.test_train_loop import CONFIG, Killed, TrainingIO, rows
from trainer import checkpoint
from trainer.batches import shares_for_rank
from trainer.checkpoint import Cursor
from trainer.config import RunConfig
from trainer.journal import JOURNAL
from trainer.learner import Learner, TrainingDiverged
from trainer.selfplay import learn_round
from trainer.training import CHECKPOINTS, Training

NAN = float("nan")


class Poisoned(TinyPolicy):
    """Its loss of some groups is no number; with `only_gradient` its gradient alone."""

    groups: frozenset[int] = frozenset({3})
    only_gradient = False

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        terms = super().loss(examples)
        if not any(e.key.group in self.groups and e.pattern == "caption" for e in examples):
            return terms
        if self.only_gradient:
            spoil = sum(w.sum() for w in self.module.parameters())
            spoil.register_hook(lambda gradient: gradient * NAN)
            return {
                k: LossTerm(t.totals + spoil - spoil.detach(), t.count) for k, t in terms.items()
            }
        return {kind: LossTerm(term.totals * NAN, term.count) for kind, term in terms.items()}


def poisoned(*groups: int, only_gradient: bool = False) -> TinyPolicy:
    policy = small_policy()
    policy.__class__ = Poisoned
    policy.groups, policy.only_gradient = frozenset(groups), only_gradient  # type: ignore[attr-defined]
    return policy


class Tolerant(TrainingIO):
    told = 0

    def diverged(self) -> None:
        self.told += 1


def tolerating(most: int) -> RunConfig:
    return changed(CONFIG, trainer=changed(CONFIG.trainer, max_skipped=most))


def train(folder: Path, io: TrainingIO, most: int, *groups: int) -> Learner:
    config = tolerating(most)
    learner = Learner(poisoned(*groups), config.trainer)
    Training(config, folder, learner, load_templates("tiny"), io).run(learn_round)
    return learner


@pytest.mark.parametrize("only_gradient", [False, True])
def test_a_fault_is_named_with_its_pattern_kind_round_and_groups(only_gradient: bool) -> None:
    batch = small_batch(1)
    group = batch["caption"][1].key.group
    learner = Learner(poisoned(group, only_gradient=only_gradient), TRAINER)
    before, moments = learner.weights("ema"), learner.state()["optimizer"]
    shares = {p: shares_for_rank(e, 0, 1, 1) for p, e in batch.items()}
    with pytest.raises(
        TrainingDiverged, match=r"The gradient of step 1 is nan .*trainer\.lr"
    ) as at:
        learner.step(shares)
    groups = sorted(e.key.group for e in batch["caption"]) if only_gradient else [group]
    named = f"of round 1, group{'s' * only_gradient} {', '.join(map(str, groups))})"
    assert at.value.why == f"caption ({'gradient' if only_gradient else 'text'} {named}"
    assert at.value.why in str(at.value) and "\n" not in str(at.value)
    learner.skip()
    assert learner.steps == 1
    for name, array in learner.weights("ema").items():
        np.testing.assert_array_equal(array, before[name])
    assert all(not m["exp_avg"].any() and m["step"] == 0 for m in moments.values())


def test_a_skipped_step_counts_and_teaches_nothing(tmp_path: Path) -> None:
    io = Tolerant()
    train(tmp_path, io, 1, 3)
    journal = rows(tmp_path)
    assert [row["step"] for row in journal] == list(range(1, len(journal) + 1))
    skipped = [row for row in journal if "skipped" in row]
    assert 0 < len(skipped) < len(journal) and io.told == len(skipped)
    for row in skipped:
        assert row["losses"] == row["tokens"] == {}
        assert (
            row["skipped"]
            == f"caption (text of round {row['round']}, groups {row['skipped'].split('groups ')[1]}"
        )
        assert "3" in row["skipped"]
    json.loads((tmp_path / JOURNAL).read_text().splitlines()[0], parse_constant=pytest.fail)
    told = [e for e in events.read(tmp_path) if e["what"] == events.SKIPPED]
    assert [e["why"] for e in told] == [row["skipped"] for row in skipped]
    assert troubles(tmp_path).counts == [("training skipped a step", len(skipped))]


def test_too_many_in_a_row_end_training(tmp_path: Path) -> None:
    io = Tolerant()
    with pytest.raises(TrainingDiverged, match="step 3"):
        train(tmp_path, io, 2, *range(100))
    assert io.told == 3 and len(rows(tmp_path)) == 2
    newest = checkpoint.latest(tmp_path / CHECKPOINTS)
    assert newest is not None and newest.cursor == Cursor(1, 1, 2, 2, 0, 2)
    again = Tolerant()
    with pytest.raises(TrainingDiverged, match="step 3"):
        train(tmp_path, again, 2, *range(100))
    assert again.told == 1  # those before the checkpoint are still counted


def test_a_run_that_is_killed_skips_the_same_steps(tmp_path: Path) -> None:
    whole = Tolerant()
    train(tmp_path / "peace", whole, 1, 3)
    for moment in (9, 17, 26):
        folder, first = tmp_path / str(moment), Tolerant(moment=moment)
        with pytest.raises(Killed):
            train(folder, first, 1, 3)
        second = Tolerant()
        train(folder, second, 1, 3)
        assert {**first.published, **second.published} == whole.published
        assert rows(folder) == rows(tmp_path / "peace")


def rank_main(rank: int, place: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    batch = small_batch(1)
    learner = Learner(poisoned(batch["caption"][1].key.group), TRAINER)
    shares: Any = {p: shares_for_rank(e, rank, 2, 0) for p, e in batch.items()}
    try:
        learner.step(shares)
        said = "nothing"
    except TrainingDiverged as error:
        said = error.why
    (Path(folder) / f"{rank}.txt").write_text(said)
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_fault_of_one_rank_is_one_of_all(tmp_path: Path) -> None:
    mp.spawn(rank_main, args=(meeting_place(), str(tmp_path)), nprocs=2)
    one, other = ((tmp_path / f"{rank}.txt").read_text() for rank in (0, 1))
    assert (
        one == other == f"caption (text of round 1, group {small_batch(1)['caption'][1].key.group})"
    )
