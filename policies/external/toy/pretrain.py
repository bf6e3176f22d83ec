"""Builds the toy from a toy vision-language model, the toy BAGEL's autoencoder and a seed.

    python -m policies.external.toy.pretrain --seed 0 --workers 2 --language toys/vision-language \\
      --out toys/external

Invariant: the result follows from the arguments alone. Every batch comes from a generator keyed by
(seed, worker, step), and workers meet only in the sum of their gradients.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch.distributed as dist

from policies.bagel.policy import BagelPolicy
from policies.bagel.toy.seeing import with_latents
from policies.external.module import blocks
from policies.external.policy import ExternalPolicy
from policies.external.toy import learning, model
from policies.pretraining.scenes import render_scenes
from policies.pretraining.workers import shared_parser, spawned
from policies.seeds import derive

SAVE_EVERY = 50
BAGEL = Path(__file__).parents[2] / "bagel" / "base"


def pretrain(arguments: argparse.Namespace) -> ExternalPolicy:
    """The toy, trained by all workers of the process group that this is one of."""
    seed, workers = arguments.seed, arguments.workers
    bagel = BagelPolicy.from_pretrained(arguments.bagel)
    scenes = render_scenes(seed, arguments.scenes // workers)
    # As the toy's own autoencoder has them, but sooner, for BAGEL passes over what adds nothing.
    scenes = with_latents(bagel.autoencoder.to(arguments.device), scenes)
    with tempfile.TemporaryDirectory() as folder:
        start = arguments.start or Path(folder)
        if not arguments.start:
            sizes = bagel.module.config.autoencoder
            model.write(start, arguments.language, bagel.autoencoder, sizes, derive(seed, "toy"))
        policy = ExternalPolicy.from_pretrained(start)
        policy.sample_on(arguments.device, "float32")
        if not arguments.start:
            batch = arguments.prompts // workers, arguments.texts // workers
            learning.say(policy, scenes, seed, arguments.word_steps, *batch)
        for block in blocks(policy.module.denoiser) if arguments.compile else ():
            block.compile()

        def save(step: int) -> None:  # so that a cut run leaves something
            if dist.get_rank() == 0 and (step % SAVE_EVERY == 0 or step == arguments.steps):
                policy.save_pretrained(arguments.out)

        phase = learning.Phase(
            arguments.steps, arguments.done, arguments.drawings // workers, arguments.copies,
            arguments.texts // workers, arguments.rate, arguments.slower,
        )  # fmt: skip
        learning.train(policy, scenes, seed, phase, save)
    return policy


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    parser = shared_parser(__doc__, 50_000)
    begin = parser.add_mutually_exclusive_group(required=True)
    begin.add_argument("--language", type=Path, help="the folder of a toy vision-language model")
    begin.add_argument(
        "--start", type=Path, help="a checkpoint in another folder that goes on learning"
    )
    parser.add_argument("--bagel", type=Path, default=BAGEL, help="whose autoencoder is taken")
    parser.add_argument("--word-steps", type=int, default=300)
    parser.add_argument("--prompts", type=int, default=48, help="said by the slots a step, in all")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--done", type=int, default=0, help="those that --start has behind it")
    parser.add_argument("--drawings", type=int, default=64, help="drawings a step, of all workers")
    parser.add_argument("--copies", type=int, default=4, help="noisy ones of each drawing")
    parser.add_argument("--texts", type=int, default=24, help="texts a step, of all workers")
    parser.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    parser.add_argument(
        "--slower", type=float, default=0.5, help="the language model's rate, as a part of it"
    )
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args(given)


def main() -> None:
    spawned(pretrain, parsed())


if __name__ == "__main__":
    main()
