"""Builds the toy from nothing but a seed: its autoencoder first, then its eyes, then all else.

    python -m policies.bagel.toy.pretrain --seed 0 --workers 2 --out policies/bagel/base

Invariant: the result follows from the arguments alone. Every batch comes from a generator keyed by
(seed, phase, worker, step), and workers meet only in the sum of their gradients.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from policies.bagel.embeddings import spots_of
from policies.bagel.module import BagelModule
from policies.bagel.policy import BagelPolicy
from policies.bagel.toy import learning, model, patches, seeing
from policies.convolutions import pass_over_idle
from policies.flowing.latents import patches_of
from policies.pretraining import decoders, phrases
from policies.pretraining.scenes import pixels_of, render_scenes, vocabulary
from policies.pretraining.workers import shared_parser, spawned
from policies.seeds import derive
from policies.tiny.lessons import Scene

SAVE_EVERY = 200
FITTED = 2000
"""Scenes whose patches the encoder is fitted to."""


def pretrain(arguments: argparse.Namespace) -> BagelPolicy:
    """The toy, trained by all workers of the process group that this is one of."""
    seed, workers = arguments.seed, arguments.workers
    scenes = render_scenes(seed, arguments.scenes // workers)
    if arguments.start:
        policy = BagelPolicy.from_pretrained(arguments.start)
    else:
        policy = BagelPolicy(model.new(vocabulary(), derive(seed, "toy")))
    policy.sample_on(arguments.device, "float32")
    if not arguments.start:
        _learn_to_see(policy, scenes, arguments)
    scenes = seeing.with_latents(policy.autoencoder, scenes)
    for unit in policy.module.units() if arguments.compile else ():
        unit.compile(dynamic=True)  # in two thirds of the time
    for phase in (
        learning.Phase("lessons", True, arguments.steps, arguments.batch, arguments.rate, 1.0),
        learning.Phase(
            "drawing",
            False,
            arguments.drawing_steps,
            arguments.drawing_batch,
            arguments.rate,
            policy.layout.training_shift,
            arguments.mixed_up,
        ),
    ):

        def save(step: int, last: int = phase.steps) -> None:  # so that a cut run leaves something
            if dist.get_rank() == 0 and (step % SAVE_EVERY == 0 or step == last):
                policy.save_pretrained(arguments.out)

        learning.train(policy.module, policy.layout, scenes, seed, phase, save)
    return policy


def _learn_to_see(policy: BagelPolicy, scenes: list[Scene], arguments: argparse.Namespace) -> None:
    """The autoencoder, and then the eyes."""
    seed, workers = arguments.seed, arguments.workers
    if arguments.autoencoder:
        given = BagelPolicy.from_pretrained(arguments.autoencoder).autoencoder
        policy.autoencoder.load_state_dict(given.state_dict())
        pass_over_idle(policy.autoencoder)
        decoders.empty_idle(policy.autoencoder)
    else:
        _fit(policy, scenes)
        batch = arguments.picture_batch // workers
        seeing.train(policy.autoencoder, scenes, seed, arguments.picture_steps, batch)
    eyes, batch = policy.module.vit_model, arguments.phrase_batch // workers
    look, width = partial(looked, policy.module), policy.module.config.vision.hidden_size
    phrases.train(eyes, look, eyes.stack(), width, scenes, seed, arguments.phrase_steps, batch)


def looked(module: BagelModule, scenes: Sequence[Scene]) -> Tensor:
    """A `policies.pretraining.phrases.Look`, but for the first argument."""
    device = next(module.parameters()).device
    pixels = pixels_of([scene.picture.pixels for scene in scenes]).to(device)
    sizes, count = module.config.vision, len(pixels)
    spots = spots_of((sizes.side, sizes.side), sizes.side).repeat(count).to(device)
    patches = patches_of(pixels, sizes.patch).flatten(0, 1)
    return module.vit_model(patches, spots, [sizes.side**2] * count).unflatten(0, (count, -1))


def _fit(policy: BagelPolicy, scenes: list[Scene]) -> None:
    """Sets the encoder by the scenes of worker 0, for all workers must have the same."""
    if dist.get_rank() == 0:
        pixels = pixels_of([scene.picture.pixels for scene in scenes[:FITTED]])
        patches.fit(policy.autoencoder, pixels)
    for weight in policy.autoencoder.parameters():
        dist.broadcast(weight.data, 0)


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    parser = shared_parser(__doc__, 100_000)
    parser.add_argument("--picture-steps", type=int, default=3000)
    parser.add_argument("--picture-batch", type=int, default=8, help="pictures a step, in all")
    parser.add_argument(
        "--autoencoder", type=Path, help="take that of this checkpoint, and train none"
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="a checkpoint that goes on learning, with its autoencoder and eyes",
    )
    parser.add_argument("--phrase-steps", type=int, default=1500)
    parser.add_argument("--phrase-batch", type=int, default=128, help="pictures a step, in all")
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--drawing-steps", type=int, default=4000, help="of drawing alone, at last")
    parser.add_argument("--drawing-batch", type=int, default=64, help="drawings a step, in all")
    parser.add_argument(
        "--mixed-up", action="store_true", help="drawing alone is taught by captions that mix up"
    )
    parser.add_argument("--batch", type=int, default=128, help="lessons a step, of all workers")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    return parser.parse_args(given)


def main() -> None:
    spawned(pretrain, parsed())


if __name__ == "__main__":
    main()
