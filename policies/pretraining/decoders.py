"""How a decoder of pictures with the public convolutional blocks begins, and how it is trained.

Invariant: what is trained is what the decoder computes. Blocks that are left at doing nothing are
passed over, for at full resolution they would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from policies.convolutions import Block, Glance, pass_over_idle
from policies.pretraining.log import Log
from policies.pretraining.optimizer import Optimizer
from policies.pretraining.scenes import pixels_of
from policies.seeds import derive, generator
from policies.tiny.lessons import Scene

RATE = 2e-3

Rebuilt = Callable[[Tensor, torch.Generator], Tensor]
"""Pictures float32 [pictures, 3, height, width] from -1 to 1 as they come back, by some chance."""
Save = Callable[[int], None]


@torch.no_grad()
def begin(whole: nn.Module) -> None:
    """Every block and glance of `whole` begins as doing nothing. What its decoder's last norm gets has
    a frame in every other channel, so that each of its groups has one: it takes the mean of a group of
    two channels away, and without something fixed in them the color of the paper would be lost."""
    for part in whole.modules():
        if isinstance(part, Block | Glance):
            _clear(part.last(), slice(None))
        elif isinstance(part, nn.Conv2d):
            part.weight *= 3**0.5  # torch begins with a third of the variance
    decoder: Any = whole.decoder  # modules of modules, which have no types
    levels = decoder.up
    _clear(decoder.conv_in, 0, 1.0)
    for number, level in enumerate(levels):
        for block in level.block:
            if hasattr(block, "nin_shortcut") and number:
                _clear(block.nin_shortcut, 0)
                block.nin_shortcut.weight[0, 0] = 1.0
        if number:
            _clear(level.upsample.conv, 0)
            level.upsample.conv.weight[0, 0, 1, 1] = 1.0
    # The edges of an average over 3 x 3 places are darker: with these numbers of mean 0, variance 1.
    framing = levels[-1].upsample.conv
    _clear(framing, 0, -5.352)
    framing.weight[0, 0] = 6 / 9
    last = levels[0].block[0].nin_shortcut
    last.weight[:, 0] = 0.0
    _clear(last, slice(1, None, 2))
    last.weight[1::2, 0] = 1.0
    pass_over_idle(whole)


def _clear(conv: nn.Conv2d, rows: int | slice, bias: float = 0.0) -> None:
    assert conv.bias is not None
    conv.weight[rows] = 0.0
    conv.bias[rows] = bias


def _nothing(step: int) -> None:
    pass


def train(
    whole: nn.Module, trained: Collection[str], rebuilt: Rebuilt, scenes: Sequence[Scene], seed: int,
    steps: int, batch: int, others: Iterable[Tensor] = (), done: int = 0, save: Save = _nothing,
) -> None:  # fmt: skip
    """Trains the decoder of `whole`, of its blocks those that are `trained`, and `others`, by `batch`
    pictures of this worker a step, after the steps that are `done`. After every step `save` is called
    with its number."""
    log = Log("decoder", steps, done)
    for name, part in whole.named_modules():
        if isinstance(part, Block | Glance):
            part.idle = name not in trained
    decoder: Any = whole.decoder
    decoder.requires_grad_(True).train()
    optimizer = Optimizer([*decoder.parameters(), *others], RATE, steps)
    optimizer.done, rank = done, dist.get_rank()
    device = decoder.conv_in.weight.device
    for step in range(done + 1, steps + 1):
        rng = generator(seed, "decoder", rank, step)
        chance = torch.Generator().manual_seed(derive(seed, "noise", rank, step))
        chosen = rng.integers(len(scenes), size=batch)
        seen = pixels_of([scenes[i].picture.pixels for i in chosen]).to(device)
        wrong = (rebuilt(seen, chance) - seen) / 2
        loss = wrong.abs().mean() + 2 * wrong.square().mean()
        loss.backward()
        optimizer.step()
        log(step, loss=loss.item(), error=float(wrong.detach().abs().mean()))
        save(step)
    pass_over_idle(whole)
    empty_idle(whole)
    whole.requires_grad_(False).eval()


def empty_idle(whole: nn.Module) -> None:
    """Zeros in all parts that are passed over, so that they pack to nothing."""
    for part in whole.modules():
        if isinstance(part, Block | Glance) and part.idle:
            for name, weight in part.named_parameters():
                if "shortcut" not in name:
                    weight.data.zero_()
