"""Examples are packed to a budget of tokens, the same on every rank."""

from __future__ import annotations

import pytest
import torch

from policies.config import ConfigError, changed
from policies.interface import Example, learned
from policies.seeds import generator
from tests.trainer.small import TRAINER, small_batch, small_policy
from trainer.batches import shares_for_rank
from trainer.config import TrainerConfig
from trainer.learner import Learner
from trainer.packing import packed_shares, packs

EXAMPLES = [Example((str(i),), learned("x"), "caption") for i in range(40)]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_packs_lose_nothing_keep_the_budget_and_are_as_many_on_every_rank(
    world: int, count: int
) -> None:
    for trial in range(20):
        lengths = generator("lengths", trial).integers(1, 120, count).tolist()
        examples = EXAMPLES[:count]
        ranks = [packed_shares(examples, lengths, rank, world, 100) for rank in range(world)]
        assert len({len(rank) for rank in ranks}) == 1
        every = [share for rank in ranks for share in rank]
        taught = [e for share in every if share.weight for e in share.examples]
        assert sorted(e.context for e in taught) == sorted(e.context for e in examples)
        for share in every:
            tokens = sum(lengths[int(e.context[0])] for e in share.examples)
            assert share.examples and (tokens <= 100 or len(share.examples) == 1)
            padding = min(lengths) == lengths[int(share.examples[0].context[0])]
            assert share.weight in (0.0, 1.0) and (share.weight or padding)


def test_ranks_pass_forward_about_as_much_at_the_same_time() -> None:
    lengths = generator("even").integers(10, 50, 64).tolist()
    loads = [sum(lengths[i] for i in pack) for pack in packs(lengths, 4, 100)]
    for turn in range(0, len(loads), 4):
        assert max(loads[turn : turn + 4]) - min(loads[turn : turn + 4]) <= 50
    assert sum(loads) > 0.75 * 100 * len(loads)


def test_packs_give_the_gradient_of_the_whole_batch() -> None:
    found = []
    for tokens in (0, 60):
        learner = Learner(small_policy(), changed(TRAINER, micro_tokens=tokens, clip=1e9))
        shares = {}
        for pattern, examples in small_batch(1, 6).items():
            lengths = learner.policy.lengths(examples)
            assert max(lengths) <= 60
            packed = packed_shares(examples, lengths, 0, 1, tokens) if tokens else ()
            shares[pattern] = packed or shares_for_rank(examples, 0, 1, 0)
        assert not tokens or len(shares["reflection"]) == 1 < len(shares["judgement"])
        done = learner.step(shares)
        found.append((done.losses, {n: p.grad for n, p in learner.params.items()}))
    (losses, whole), (same, packed) = found
    assert losses == pytest.approx(same, rel=1e-6)
    for name, gradient in whole.items():
        assert torch.allclose(gradient, packed[name], atol=1e-6), name


def test_one_of_both_sizes_is_refused_beside_the_other() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.micro_batch is 2: .*trainer\.micro_tokens"):
        TrainerConfig(micro_batch=2, micro_tokens=100)
