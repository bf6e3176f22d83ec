"""Builds the toy vision-language model from the toy BAGEL's eyes and words and from a seed.

    python -m policies.vision_language.toy.pretrain --seed 0 --workers 2 --out toys/vision-language

Invariant: the result follows from the arguments alone. Every batch comes from a generator keyed by
(seed, phase, worker, step), and workers meet only in the sum of their gradients.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch.distributed as dist

from policies.bagel.policy import BagelPolicy
from policies.pretraining.scenes import render_scenes
from policies.pretraining.workers import shared_parser, spawned
from policies.seeds import derive
from policies.tiny.lessons import Scene
from policies.tools.policy import ToolsPolicy
from policies.vision_language.toy import learning, model, seeing

SAVE_EVERY = 50
BAGEL = Path(__file__).parents[2] / "bagel" / "base"


def pretrain(arguments: argparse.Namespace) -> ToolsPolicy:
    """The toy, trained by all workers of the process group that this is one of."""
    seed, workers = arguments.seed, arguments.workers
    scenes = render_scenes(seed, arguments.scenes // workers)
    if arguments.start:
        policy = model.loaded(arguments.start)
        policy.sample_on(arguments.device, "float32")
    else:
        policy = _begun(scenes, arguments)

    def save(step: int) -> None:  # so that a cut run leaves something
        if dist.get_rank() == 0 and (step % SAVE_EVERY == 0 or step == arguments.steps):
            policy.save_pretrained(arguments.out)

    batch = arguments.batch // workers
    learning.train(policy, scenes, seed, arguments.steps, batch, arguments.rate, save)
    return policy


def _begun(scenes: list[Scene], arguments: argparse.Namespace) -> ToolsPolicy:
    """One that sees and writes as the BAGEL does, and has not learned from its own layout."""
    with tempfile.TemporaryDirectory() as folder:
        model.write(Path(folder), derive(arguments.seed, "toy"))
        policy = model.loaded(Path(folder))
    bagel = BagelPolicy.from_pretrained(arguments.bagel)
    model.begin(policy, bagel)
    policy.sample_on(arguments.device, "float32")
    bagel.sample_on(arguments.device, "float32")
    batch = arguments.picture_batch // arguments.workers
    steps = arguments.projector_steps
    seeing.train(policy.module.model, bagel.module, scenes, arguments.seed, steps, batch)
    return policy


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    parser = shared_parser(__doc__, 20_000)
    parser.add_argument(
        "--bagel", type=Path, default=BAGEL, help="whose eyes and words it begins with"
    )
    parser.add_argument("--start", type=Path, help="a checkpoint that goes on learning")
    parser.add_argument("--projector-steps", type=int, default=300)
    parser.add_argument("--picture-batch", type=int, default=32, help="pictures a step, in all")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64, help="lessons a step, of all workers")
    parser.add_argument("--rate", type=float, default=1e-3, help="the highest learning rate")
    return parser.parse_args(given)


def main() -> None:
    spawned(pretrain, parsed())


if __name__ == "__main__":
    main()
