"""What saves memory changes nothing that is learned: micro-batches, recomputing, bfloat16."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from policies.config import ConfigError, changed
from tests.trainer.small import TRAINER, meeting_place, small_batch, small_policy
from trainer.batches import shares_for_rank
from trainer.config import TrainerConfig
from trainer.learned import Learned
from trainer.learner import Learner

WAYS = {
    "all": TRAINER,
    "two": changed(TRAINER, micro_batch=2),
    "one": changed(TRAINER, micro_batch=1),
    "recomputed": changed(TRAINER, recompute=True),
}
HALF = changed(TRAINER, precision="bfloat16", recompute=True, micro_batch=1)
Outcome = tuple[Learned, dict[str, Tensor]]


def one_step(config: TrainerConfig) -> Outcome:
    """What the first step did, and its gradients after clipping, by name."""
    learner = Learner(small_policy(), config)
    learned = learner.step({
        p: shares_for_rank(examples, learner.rank, learner.world, config.micro_batch)
        for p, examples in small_batch(1, size=5).items()
    })  # fmt: skip
    return learned, {name: whole(p.grad) for name, p in learner.params.items()}


def whole(gradient: Tensor | None) -> Tensor:
    assert gradient is not None and gradient.dtype == torch.float32
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def rank_main(rank: int, world: int, place: str, file: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world)
    found = {name: one_step(config) for name, config in (WAYS | {"half": HALF}).items()}
    if rank == 0:
        torch.save(found, file)
    # Learners lie in cycles; one that ended with the interpreter would end it with an abort.
    gc.collect()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def plain() -> dict[str, Outcome]:
    return {name: one_step(config) for name, config in WAYS.items()}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    file: Path = tmp_path_factory.mktemp("memory") / "rank-0.pt"
    mp.spawn(rank_main, args=(2, meeting_place(), str(file)), nprocs=2)
    return torch.load(file, weights_only=False)


def require_near(ours: Outcome, theirs: Outcome) -> None:
    assert ours[0].tokens == theirs[0].tokens
    assert ours[0].losses == pytest.approx(theirs[0].losses, rel=1e-6)
    assert ours[1].keys() == theirs[1].keys()
    for name, gradient in ours[1].items():
        torch.testing.assert_close(gradient, theirs[1][name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["one", "two"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(plain, two_ranks, way: str) -> None:
    require_near(plain[way], plain["all"])
    require_near(two_ranks[way], plain["all"])
    require_near(two_ranks["all"], plain["all"])


@pytest.mark.slow
def test_recomputing_gives_the_same_bits(plain, two_ranks) -> None:
    for found in (plain, two_ranks):
        (learned, gradients), (again, recomputed) = found["all"], found["recomputed"]
        assert learned == again
        assert gradients.keys() == recomputed.keys()
        assert all(torch.equal(recomputed[name], g) for name, g in gradients.items())


def test_recomputing_runs_each_unit_again_and_leaves_its_names() -> None:
    policy, runs = small_policy(), []
    names = list(policy.module.state_dict())
    for unit in policy.fsdp_units():
        unit.input_norm.register_forward_hook(lambda *_: runs.append(1))
    learner = Learner(policy, WAYS["recomputed"])
    assert list(policy.module.state_dict()) == names
    batch = small_batch(1)
    learner.step({p: shares_for_rank(e, 0, 1, 0) for p, e in batch.items()})
    assert len(runs) == 2 * len(policy.fsdp_units()) * len(batch)


@pytest.mark.slow
def test_bfloat16_computes_near_float32_and_sums_in_it(two_ranks) -> None:
    learned, gradients = two_ranks["half"]
    exact, wanted = two_ranks["all"]
    assert learned.tokens == exact.tokens
    assert learned.losses == pytest.approx(exact.losses, rel=0.02) and learned != exact
    for name, gradient in gradients.items():
        assert torch.nn.functional.cosine_similarity(
            gradient.flatten(), wanted[name].flatten(), dim=0
        ) > 0.98, name  # fmt: skip


def test_bfloat16_without_a_process_group_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.precision is 'bfloat16': it must be float32"):
        Learner(small_policy(), HALF)


def test_a_policy_that_miscounts_its_targets_is_refused() -> None:
    policy = small_policy()
    policy.target_counts = lambda examples: {"text": 1}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="counts"):
        Learner(policy, TRAINER).step(
            {"caption": shares_for_rank(small_batch(1)["caption"], 0, 1, 0)}
        )
