"""One policy that learns: sharded over the ranks (FSDP2), AdamW, clipping, averaged weights.

Invariant: a step's losses and gradients are, for each pattern and kind of loss, means over the
tokens (or latent values) of the whole step, whoever holds them and however they are shared out, so
that neither changes anything but the rounding; and all ranks run the same units in the same order. Everything that a checkpoint must hold is in `state()`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from policies import passed
from policies.config import require
from policies.errors import UserError
from policies.interface import LOSS_KINDS, Pattern, Policy
from trainer.batches import Share
from trainer.config import TrainerConfig
from trainer.contrast import Against, Contrast
from trainer.faults import GRADIENT, Fault, described, everywhere, fault, finite
from trainer.learned import Accumulated, Learned
from trainer.sharded import array, local, number, whole

Kind = Literal["model", "ema"]
Name = TypeVar("Name", bound=str)
Named = dict[str, Tensor]


class TrainingDiverged(UserError, ArithmeticError):
    """A loss or a gradient that is no number; the message names the step, the losses and the groups
    that they are of, and so does `why` in short."""

    why = ""


class Learner:
    """Takes over `policy`: its module is sharded over the process group if there is one, and is
    plain otherwise. `steps` counts the optimizer's steps and sets the warm-up."""

    def __init__(
        self, policy: Policy, config: TrainerConfig, device: torch.device | None = None
    ) -> None:
        self.policy, self.config = policy, config
        self.device = device or torch.device("cpu")
        self.distributed = dist.is_available() and dist.is_initialized()
        self.world = dist.get_world_size() if self.distributed else 1
        self.rank = dist.get_rank() if self.distributed else 0
        self.steps = 0
        names = set(policy.weights())
        self.params = self._prepare()
        _require_same_names(set(self.params), names)
        self.ema = {name: param.detach().clone() for name, param in self.params.items()}
        self.optimizer = torch.optim.AdamW(
            self.params.values(), lr=config.lr, betas=config.betas, eps=config.eps,
            weight_decay=config.weight_decay,
        )  # fmt: skip
        self._begin_moments()
        against = config.contrast.weight > 0
        self.contrast = (
            Contrast(policy, self.params, config.contrast, config.kind_weights) if against else None
        )

    def _prepare(self) -> dict[str, torch.nn.Parameter]:
        self._shrink_frozen()
        module, units = self.policy.module, self.policy.fsdp_units()
        if self.config.recompute:
            for unit in units:
                unit.forward = partial(checkpoint, unit.forward, use_reentrant=False)
        require(self.distributed or self.config.precision == "float32", "trainer.precision",
                self.config.precision, "float32 outside a process group: FSDP2 is what casts")  # fmt: skip
        if self.distributed:
            mesh = init_device_mesh(self.device.type, (self.world,))
            for unit in (*units, module):
                fully_shard(unit, mesh=mesh, mp_policy=self._precision())
        else:  # sharding moves one unit after the other
            module.to(self.device)
        return {name: p for name, p in module.named_parameters() if p.requires_grad}

    def _shrink_frozen(self) -> None:
        """What does not learn is kept as FSDP2 computes with it, and not cast anew for each pass: the
        same numbers, in half of the memory."""
        if self.config.precision == "float32":
            return
        for param in self.policy.module.parameters():
            if not param.requires_grad:
                param.data = param.data.to(torch.bfloat16)

    def _precision(self) -> MixedPrecisionPolicy:
        if self.config.precision == "float32":
            return MixedPrecisionPolicy()
        # Gradients are summed in float32: small ones of many ranks would vanish.
        return MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )

    def _begin_moments(self) -> None:
        # AdamW makes these at its first step; a checkpoint may be wanted (or loaded) before it.
        for param in self.params.values():
            self.optimizer.state[param] = {
                "step": torch.zeros((), dtype=torch.float32),
                "exp_avg": torch.zeros_like(param),
                "exp_avg_sq": torch.zeros_like(param),
            }

    # Learning

    def step(self, batch: Mapping[Pattern, Sequence[Share]]) -> Learned:
        """One optimizer step from this rank's shares; all ranks name the same patterns in the
        same order, with as many shares. Raises TrainingDiverged, on all ranks if on one, and leaves
        the weights as they were."""
        self.optimizer.zero_grad(set_to_none=True)
        before = self._counts()
        done: dict[Pattern, Accumulated] = {}
        faults: list[Fault] = []
        spoiled = False
        for pattern, shares in batch.items():
            done[pattern] = self._accumulate(pattern, shares, faults)
            if not spoiled:
                spoiled = self.any_rank(bool(faults) or not finite(self._gradients()))
                if spoiled and not faults:
                    whole = (example for share in shares for example in share.examples)
                    faults.append(fault(pattern, GRADIENT, whole))
        weights = self.config.kind_weights
        kinds = {pattern: each.means for pattern, each in done.items()}
        losses = {p: sum(weights[k] * mean for k, mean in of.items()) for p, of in kinds.items()}
        norm = number(torch.nn.utils.clip_grad_norm_(self.params.values(), self.config.clip))
        if spoiled or not math.isfinite(norm):
            raise self._diverged(norm, losses, everywhere(faults, self.world))
        lr = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self._average()
        self.steps += 1
        return Learned(
            losses, kinds, {pattern: each.tokens for pattern, each in done.items()}, norm, lr,
            sum(each.contrast for each in done.values()), sum(each.pairs for each in done.values()),
            **self._passed_since(before),
        )  # fmt: skip

    def _counts(self) -> Counter[str]:
        """The tokens that this process has passed forward: those that it learned from too, and those
        of the reference."""
        referenced = self.contrast.referenced if self.contrast else 0
        return Counter(passed=passed.tokens() - referenced, referenced=referenced)

    def _passed_since(self, before: Counter[str]) -> dict[str, int]:
        """On all ranks, which call it together."""
        since = self._counts()
        since.subtract(before)
        return {name: int(count) for name, count in self._summed(since).items()}

    def _gradients(self) -> list[Tensor]:
        return [local(p.grad) for p in self.params.values() if p.grad is not None]

    def skip(self) -> None:
        """Passes over a step that diverged: it counts, and nothing is learned from it."""
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1

    def _diverged(
        self, norm: float, losses: Mapping[Pattern, float], faults: Sequence[Fault]
    ) -> TrainingDiverged:
        infinite = not math.isfinite(norm)
        what = f"gradient of step {self.steps + 1} is {norm}" if infinite else (
            f"loss of step {self.steps + 1} is no number")  # fmt: skip
        why = described(faults) or "no loss, but the sum of all gradients"
        error = TrainingDiverged(
            f"The {what} (losses {dict(losses)}; {why}): lower trainer.lr (now {self.config.lr}) or "
            "let steps be skipped (trainer.max_skipped), and resume from the last checkpoint."
        )
        error.why = why
        return error

    def _accumulate(
        self, pattern: Pattern, shares: Sequence[Share], faults: list[Fault]
    ) -> Accumulated:
        """Adds the pattern's part of the gradient, and to `faults` what is no number."""
        counted = [self.policy.target_counts(share.examples) for share in shares]
        counts = self._summed(
            {k: sum(c.get(k, 0) * s.weight for c, s in zip(counted, shares, strict=True))
             for k in LOSS_KINDS}
        )  # fmt: skip
        # FSDP divides the summed gradient by the number of ranks; the mean is over tokens.
        weight = self.config.loss_weights[pattern]
        scales = {k: weight * self.config.kind_weights[k] * self.world / counts[k] for k in counts}
        sums = dict.fromkeys(LOSS_KINDS, 0.0)
        against = self._against(pattern, shares)
        for at, (share, count) in enumerate(zip(shares, counted, strict=True)):
            terms = self.policy.loss(share.examples)
            if {kind: term.count for kind, term in terms.items()} != count:
                raise ValueError(f"loss() of target_counts() {count} counts otherwise")
            totals = {kind: term.total * share.weight for kind, term in terms.items()}
            loss = torch.stack([total * scales[kind] for kind, total in totals.items()]).sum()
            (loss + against.won(at, terms) if against else loss).backward()
            if against:
                against.lost(at).backward()
            for kind, total in totals.items():
                sums[kind] += (value := total.item())
                if not math.isfinite(value):
                    faults.append(fault(pattern, kind, share.examples))
        means = {kind: total / counts[kind] for kind, total in self._summed(sums).items()}
        mean = self._summed({"contrast": against.sum / against.count}) if against else {}
        pairs = against.count if against else 0
        return Accumulated(means, int(sum(counts.values())), mean.get("contrast", 0.0), pairs)

    def _against(self, pattern: Pattern, shares: Sequence[Share]) -> Against | None:
        """What drawings are held against, if they are and any rank has a loser."""
        if self.contrast is None or pattern != "generation":
            return None
        count = sum(bool(e.worse) * share.weight for share in shares for e in share.examples)
        pairs = int(self._summed({"pairs": count}).get("pairs", 0))
        return self.contrast.against(shares, pairs, self.world) if pairs else None

    def _summed(self, numbers: Mapping[Name, float]) -> dict[Name, float]:
        """Over all ranks, without those that are 0 everywhere; all call it together."""
        summed = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        if self.distributed:
            dist.all_reduce(summed)
        return {kind: total for kind, total in zip(numbers, summed.tolist(), strict=True) if total}

    def _learning_rate(self) -> float:
        warmup = self.config.warmup_steps
        return self.config.lr * min(1.0, (self.steps + 1) / warmup) if warmup else self.config.lr

    @torch.no_grad()
    def _average(self) -> None:
        averaged = [local(t) for t in self.ema.values()]
        latest = [local(p) for p in self.params.values()]
        torch._foreach_lerp_(averaged, latest, 1.0 - self.config.ema)

    # Weights and state

    def anchor(self, kind: Kind) -> None:
        """From now on winners and losers are told by what these weights think of them."""
        if self.contrast is not None:
            self.contrast.anchor(self._weights(kind))

    def _weights(self, kind: Kind) -> Mapping[str, Tensor]:
        return self.ema if kind == "ema" else self.params

    def weights(self, kind: Kind, here: bool = True) -> dict[str, np.ndarray]:
        """The whole weights as float32; all ranks call it together, and only those that want them
        `here` keep more than one of them at a time."""
        gathered = ((n, whole(tensor.detach())) for n, tensor in self._weights(kind).items())
        return {name: array(whole) for name, whole in gathered if here}

    def state(self) -> dict[str, dict[str, Tensor | Named]]:
        """Everything learned but `steps`, by name, as it is and not a copy: sharded tensors that
        torch.distributed.checkpoint saves from and loads into."""
        reference = {"reference": dict(self.contrast.reference)} if self.contrast else {}
        return {
            "model": {name: param.detach() for name, param in self.params.items()},
            "ema": dict(self.ema),
            "optimizer": {name: self.optimizer.state[p] for name, p in self.params.items()},
            **reference,
        }

    def any_rank(self, flag: bool) -> bool:
        """True on all ranks if it is on one; all ranks call it together."""
        if not self.distributed:
            return flag
        flags = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())


def _require_same_names(trained: Iterable[str], stated: Iterable[str]) -> None:
    """The published weights must be exactly those that replicas load."""
    differing = sorted(set(trained) ^ set(stated))
    if differing:
        raise ValueError(
            f"The trainable parameters and policy.weights() differ in {', '.join(differing[:5])}: "
            "weights() must name exactly the parameters of policy.module that require gradients."
        )
