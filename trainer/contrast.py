"""Winners against losers: drawings that won become likelier than they were before the round, and those
that lost to them less likely.

The loss is that of condition contrastive alignment (arXiv 2410.09347, equation 9), with a drawing
that the Judge scored lower in place of one of another prompt:
-log sigmoid(beta * D(winner)) - losers * log sigmoid(-beta * D(loser)), where D is by how much the
log-likelihood has grown since the reference. A flow has no likelihood: there it is the squared error
that has shrunk, at the same time and noise (a bound, as in Diffusion-DPO, arXiv 2311.12908).

Invariant: the reference changes between rounds alone, and all ranks pass the same units forward in
the same order, whoever has losers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from policies import passed
from policies.interface import Example, LossKind, LossTerm, Policy
from trainer.batches import Share
from trainer.config import ContrastConfig, KindWeights
from trainer.sharded import local


class Pairs(NamedTuple):
    """Of a share: which of its examples have a loser (bool [examples]), these with the loser as the
    target (or the first example, where none has), and the losses that all had before the round."""

    paired: Tensor
    losers: tuple[Example, ...]
    won: Tensor
    lost: Tensor


class Contrast:
    """`params` are what learns, which begin as the reference. So many tokens this process has passed
    forward through it are `referenced`."""

    def __init__(
        self, policy: Policy, params: Mapping[str, Tensor], config: ContrastConfig,
        kinds: KindWeights,
    ) -> None:  # fmt: skip
        self.policy, self.params, self.config, self.kinds = policy, params, config, kinds
        self.reference = {name: param.detach().clone() for name, param in params.items()}
        self.referenced = 0

    def anchor(self, weights: Mapping[str, Tensor]) -> None:
        """From now on what was learned is told by the difference to these weights."""
        for name, tensor in weights.items():
            self.reference[name].copy_(tensor.detach())

    @torch.no_grad()
    def against(self, shares: Sequence[Share], count: int, world: int) -> Against:
        """What the shares of a step are held against, of `count` pairs on all `world` ranks. All
        ranks call it together, with as many shares."""
        before = passed.tokens()
        with self._before():
            pairs = [self._pairs(share.examples) for share in shares]
        self.referenced += passed.tokens() - before
        # FSDP divides the summed gradient by the number of ranks; the mean is over pairs.
        scales = [self.config.weight * world / count * share.weight for share in shares]
        return Against(self, pairs, scales, count)

    def _pairs(self, examples: Sequence[Example]) -> Pairs:
        losers = tuple(replace(each, target=each.worse) for each in examples if each.worse)
        losers = losers or (examples[0],)
        won = self.weighed(self.policy.loss(examples))
        lost = self.weighed(self.policy.loss(losers))
        paired = torch.tensor([bool(each.worse) for each in examples], device=won.device)
        return Pairs(paired, losers, won, lost)

    @contextmanager
    def _before(self) -> Iterator[None]:
        """Inside it the policy has the reference's weights."""
        own = [local(param) for param in self.params.values()]
        kept = [each.clone() for each in own]
        torch._foreach_copy_(own, [local(each) for each in self.reference.values()])
        try:
            yield
        finally:
            module = self.policy.module
            if isinstance(module, FSDPModule):
                module.reshard()  # what it has gathered is that of the reference
            torch._foreach_copy_(own, kept)

    def weighed(self, terms: Mapping[LossKind, LossTerm]) -> Tensor:
        """The losses [examples] of all kinds together."""
        return torch.stack([self.kinds[kind] * term.totals for kind, term in terms.items()]).sum(0)


class Against:
    """The pairs of a step, of which there are `count` on all ranks. `sum` grows to the unweighted loss
    of this rank's."""

    def __init__(
        self, contrast: Contrast, pairs: Sequence[Pairs], scales: Sequence[float], count: int
    ) -> None:
        self.contrast, self.pairs, self.scales, self.count = contrast, pairs, scales, count
        self.sum = 0.0

    def won(self, share: int, terms: Mapping[LossKind, LossTerm]) -> Tensor:
        """The winners' part of the step's loss, from the terms of the share's examples."""
        pairs = self.pairs[share]
        grown = pairs.won - self.contrast.weighed(terms)
        return self._scaled(share, -grown, pairs.paired.float())

    def lost(self, share: int) -> Tensor:
        """The losers' part, which passes them forward."""
        pairs, contrast = self.pairs[share], self.contrast
        grown = pairs.lost - contrast.weighed(contrast.policy.loss(pairs.losers))
        return self._scaled(share, grown, contrast.config.losers * pairs.paired.any().float())

    def _scaled(self, share: int, against: Tensor, weights: Tensor) -> Tensor:
        total = (weights * F.softplus(self.contrast.config.beta * against)).sum()
        if self.scales[share]:
            self.sum += total.item()
        return self.scales[share] * total
