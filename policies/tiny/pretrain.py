"""Builds the base checkpoint from nothing but a seed: image tokenizer first, then the transformer.

    python -m policies.tiny.pretrain --seed 0 --workers 2 --out policies/tiny/base

Invariant: the result follows from the arguments alone. Every batch comes from a generator keyed
by (seed, phase, worker, step), and workers meet only in the sum of their gradients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from policies.interface import Example, Picture
from policies.pretraining.digits import Digits, copy_plain, share
from policies.pretraining.log import Log
from policies.pretraining.optimizer import Optimizer
from policies.pretraining.parts import parts_of
from policies.pretraining.scenes import render_scenes, vocabulary
from policies.pretraining.workers import spawned
from policies.seeds import derive, generator
from policies.tiny import lessons
from policies.tiny.layout import GIVEN, TokenSequence
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import PAD
from policies.tiny.transformer import Transformer

SAVE_EVERY = 500


def train_vision(
    policy: TinyPolicy, scenes: list[lessons.Scene], seed: int, steps: int, batch: int
) -> None:
    vision, log = policy.vision, Log("tokenizer", steps)
    vision.requires_grad_(True).train()
    optimizer = Optimizer(list(vision.parameters()), 2e-3, steps)
    for step in range(1, steps + 1):
        rng = generator(seed, "vision", dist.get_rank(), step)
        chosen = [scenes[i].picture.pixels for i in rng.integers(len(scenes), size=batch)]
        seen = torch.from_numpy(np.stack(chosen)).float() / 255
        wrong = vision(seen) - seen
        loss = wrong.abs().mean() + 2 * wrong.square().mean()
        loss.backward()
        optimizer.step()
        log(step, loss=loss.item(), error=float(wrong.detach().abs().mean()))
    vision.requires_grad_(False).eval()


def encode(policy: TinyPolicy, scenes: list[lessons.Scene]) -> list[lessons.Scene]:
    """Returns the scenes with their codes, and without pixels, which are no longer needed."""
    pixels = [scene.picture.pixels for scene in scenes]
    parts = (np.stack(pixels[at : at + 256]) for at in range(0, len(pixels), 256))
    codes = torch.cat([policy.vision.encode(torch.from_numpy(part)) for part in parts])
    blank = np.zeros((0, 0, 3), np.uint8)
    return [
        replace(scene, picture=Picture(blank, code))
        for scene, code in zip(scenes, codes.int().numpy(), strict=True)
    ]


def batches(
    scenes: list[lessons.Scene], seed: int, steps: int, batch: int, drawing: float
) -> Iterator[list[Example]]:
    """Yields each step's examples, with fixed shares of every kind; `drawing` is that of drawings among
    those with a whole picture."""
    for step in range(steps):
        rng = generator(seed, "lessons", dist.get_rank(), step)
        chosen = rng.integers(len(scenes), size=batch - batch // 12)
        yield [lessons.lesson(scenes[i], rng, drawing) for i in chosen] + [
            lessons.spoken(rng) for _ in range(batch // 12)
        ]


def share_digits(policy: TinyPolicy, seed: int) -> None:
    """Makes the rows of image codes in embedding and head sums over `Digits` from now on."""
    levels, offset = policy.vision.config.levels, policy.text.code_offset
    config = policy.module.config
    for place, table in enumerate((policy.module.embed, policy.module.head)):
        start = derive(seed, "digits", place)
        share(table, Digits(levels, offset, config.vocab_size, config.hidden_size, start))


def plain(policy: TinyPolicy) -> TinyPolicy:
    """Returns the policy as it is now, with plain weights in place of those sums."""
    module = Transformer(policy.module.config)
    copy_plain(policy.module, module)
    return TinyPolicy(module, policy.vision, policy.text)


def train_transformer(
    policy: TinyPolicy, scenes: list[lessons.Scene], arguments: argparse.Namespace, batch: int
) -> None:
    def nats(ids: Tensor, places: Tensor, following: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.compile):
            logits = policy.module(ids, select=places)
        return F.cross_entropy(logits.float(), following, reduction="none")

    policy.module.requires_grad_(True).train()
    share_digits(policy, arguments.seed)
    optimizer = Optimizer(list(policy.module.parameters()), arguments.rate, arguments.steps)
    log = Log("model", arguments.steps)
    run = torch.compile(nats, dynamic=True) if arguments.compile else nats
    made = batches(scenes, arguments.seed, arguments.steps, batch, arguments.drawing)
    for step, examples in enumerate(made, 1):
        figures = learn(policy, run, examples)
        optimizer.step()
        log(step, **figures)
        # Also on the way, so that an interrupted run leaves a checkpoint.
        if dist.get_rank() == 0 and (step % SAVE_EVERY == 0 or step == arguments.steps):
            plain(policy).save_pretrained(arguments.out)


Nats = Callable[[Tensor, Tensor, Tensor], Tensor]
"""ids int64 [rows, tokens], flat places int64 [n], next tokens int64 [n] -> nats float [n]."""


def learn(policy: TinyPolicy, nats: Nats, examples: list[Example]) -> dict[str, float]:
    """Adds the gradient of the mean loss per text token plus that per image token; returns both."""
    made = policy.layout.sequences(examples)
    cut = parts_of(made, lambda each: len(each.ids), torch.device("cpu"))
    parts = [targets(policy, part) for part in cut]
    counts = {kind: sum(int(part[kind].sum()) for part in parts) for kind in ("text", "image")}
    figures = dict.fromkeys(counts, 0.0)
    for part in parts:
        chosen = part["text"] | part["image"]
        losses = nats(part["ids"], chosen.flatten().nonzero()[:, 0], part["next"][chosen])
        kinds = {"text": part["text"][chosen], "image": part["image"][chosen]}
        means = {kind: losses[where].sum() / counts[kind] for kind, where in kinds.items()}
        torch.stack(list(means.values())).sum().backward()
        for kind, mean in means.items():
            figures[kind] += float(mean.detach())
    return figures


def targets(policy: TinyPolicy, made: list[TokenSequence]) -> dict[str, Tensor]:
    """Returns `ids` and `next` int64 [rows, tokens], and bool masks of the next tokens to learn:
    `text` in the targets, and `image` codes everywhere, as those of contexts are worth drawing."""
    ids = torch.full((len(made), max(len(each.ids) for each in made) + 1), PAD)
    learned = torch.zeros_like(ids, dtype=torch.bool)
    for row, each in enumerate(made):
        ids[row, : len(each.ids)] = torch.from_numpy(each.ids)
        learned[row, : len(each.ids)] = torch.from_numpy(each.kinds != GIVEN)
    code = ids >= policy.text.code_offset
    shifted = {"next": ids, "text": learned & ~code, "image": code}
    return {"ids": ids[:, :-1], **{name: tensor[:, 1:] for name, tensor in shifted.items()}}


def pretrain(arguments: argparse.Namespace) -> None:
    """What each of the workers does."""
    seed = arguments.seed
    scenes = render_scenes(seed, arguments.scenes // arguments.workers)
    if arguments.start:
        policy = TinyPolicy.from_pretrained(arguments.start)
    else:
        policy = TinyPolicy.create(vocabulary(), seed=derive(seed, "base"))
        train_vision(policy, scenes, seed, arguments.vision_steps, 64 // arguments.workers)
    if dist.get_rank() == 0:
        policy.save_pretrained(arguments.out)
    train_transformer(
        policy, encode(policy, scenes), arguments, arguments.batch // arguments.workers
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--scenes", type=int, default=200_000)
    parser.add_argument("--vision-steps", type=int, default=8000)
    parser.add_argument(
        "--start", type=Path, help="go on with this checkpoint and keep its image tokenizer"
    )
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=256, help="sequences a step, of all workers")
    parser.add_argument("--rate", type=float, default=3e-3, help="the highest learning rate")
    parser.add_argument(
        "--drawing",
        type=float,
        default=lessons.DRAWING,
        help="how many of the lessons are drawings",
    )
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True,
        help="in bfloat16; without, in float32, for processors without its instructions",
    )  # fmt: skip
    spawned(pretrain, parser.parse_args())


if __name__ == "__main__":
    main()
