"""Builds the toy from nothing but a seed: its tokenizer of pictures first, then its transformer.

    python -m policies.showo.toy.pretrain --seed 0 --workers 2 --out toys/masked

Invariant: the result follows from the arguments alone. Every batch comes from a generator keyed by
(seed, phase, worker, step), and workers meet only in the sum of their gradients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch.distributed as dist

from policies.pretraining import phrases
from policies.pretraining.digits import copy_plain
from policies.pretraining.scenes import render_scenes, vocabulary
from policies.pretraining.workers import spawned
from policies.seeds import derive
from policies.showo import checkpoint
from policies.showo.checkpoint import Loaded
from policies.showo.module import ShowoModule
from policies.showo.policy import ShowoPolicy
from policies.showo.toy import learning, model, seeing
from policies.tiny.lessons import Scene

SAVE_EVERY = 200


def pretrain(arguments: argparse.Namespace) -> None:
    """What each of the workers does."""
    seed, workers = arguments.seed, arguments.workers
    scenes = render_scenes(seed, arguments.scenes // workers)
    if arguments.start:
        loaded = checkpoint.load(arguments.start)
    else:
        loaded = model.new(vocabulary(), derive(seed, "toy"))
    if arguments.code_steps:
        batch = arguments.code_batch // workers
        seeing.train_codes(loaded.magvit, scenes, seed, arguments.code_steps, batch)
    if arguments.picture_steps:
        batch = arguments.picture_batch // workers
        seeing.train(loaded.magvit, scenes, seed, arguments.picture_steps, batch)
    save = _saver(loaded, arguments.out)
    save()
    _teach(loaded, scenes, arguments, save)


def _teach(
    loaded: Loaded, scenes: list[Scene], arguments: argparse.Namespace, save: Callable[[], None]
) -> None:
    """The transformer: first to see, and then all lessons."""
    policy, seed = ShowoPolicy(loaded), arguments.seed
    scenes = seeing.coded(policy.vision, scenes)
    learning.share_digits(policy.module, seed)
    units = policy.fsdp_units()
    if arguments.phrase_steps:
        look, layers = partial(learning.seen, policy), units[: learning.SEEING]
        width, batch = policy.module.config.phi.hidden_size, arguments.phrase_batch
        phrases.train(
            policy.module, look, layers, width, scenes, seed, arguments.phrase_steps,
            batch // arguments.workers,
        )  # fmt: skip
    steps = arguments.steps

    def saved(step: int) -> None:  # also on the way, so that a cut run leaves something
        if step % SAVE_EVERY == 0 or step == steps:
            save()

    phase = learning.Phase(
        steps, arguments.batch, arguments.rate, arguments.drawing, arguments.bfloat16
    )
    learning.train(policy, scenes, seed, phase, saved)


def _saver(loaded: Loaded, out: Path) -> Callable[[], None]:
    """Writes the checkpoint as it is when it is called, from worker 0 alone."""

    def save() -> None:
        if dist.get_rank() == 0:
            module = ShowoModule(loaded.module.config)
            copy_plain(loaded.module, module)
            checkpoint.save(out, replace(loaded, module=module))

    return save


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog="A phase of 0 steps is left out."
    )
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--scenes", type=int, default=100_000)
    parser.add_argument(
        "--start",
        type=Path,
        help="a checkpoint that goes on learning; give 0 steps to the phases that it is done with",
    )
    parser.add_argument("--code-steps", type=int, default=6000)
    parser.add_argument("--code-batch", type=int, default=1024, help="patches a step, in all")
    parser.add_argument("--picture-steps", type=int, default=6000)
    parser.add_argument("--picture-batch", type=int, default=16, help="pictures a step, in all")
    parser.add_argument("--phrase-steps", type=int, default=1500)
    parser.add_argument("--phrase-batch", type=int, default=128, help="pictures a step, in all")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128, help="lessons a step, of all workers")
    parser.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    parser.add_argument(
        "--drawing", type=float, default=0.5, help="how many of the lessons are drawings"
    )
    parser.add_argument(
        "--bfloat16", action=argparse.BooleanOptionalAction, default=True,
        help="for all lessons; without, float32, for processors without its instructions",
    )  # fmt: skip
    return parser.parse_args(given)


def main() -> None:
    spawned(pretrain, parsed())


if __name__ == "__main__":
    main()
