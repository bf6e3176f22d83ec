"""Builds the toy from nothing but a seed: its tokenizer of pictures first, then its transformer.

    python -m policies.showo.toy.pretrain --seed 0 --workers 2 --out toys/masked

Invariant: the result follows from the arguments alone. Every batch comes from a generator keyed by
(seed, phase, worker, step), and workers meet only in the sum of their gradients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch.distributed as dist

from policies.pretraining import phrases
from policies.pretraining.digits import copy_plain
from policies.pretraining.scenes import render_scenes, vocabulary
from policies.pretraining.workers import shared_parser, spawned
from policies.seeds import derive
from policies.showo import checkpoint
from policies.showo.checkpoint import Loaded
from policies.showo.module import ShowoModule
from policies.showo.policy import ShowoPolicy
from policies.showo.toy import learning, model, seeing

SAVE_EVERY = 200
PROGRESS = "progress.json"
"""How many steps of each phase are done in a folder."""
Save = Callable[[int], None]


def pretrain(arguments: argparse.Namespace) -> None:
    """What each of the workers does."""
    seed, workers = arguments.seed, arguments.workers
    scenes = render_scenes(seed, arguments.scenes // workers)
    loaded, done = begun(arguments.start, derive(seed, "toy"))
    loaded.magvit.to(arguments.device)

    def phase(name: str, batch: int, steps: int) -> tuple[int, int, Save]:
        return steps, batch // workers, partial(_save, loaded, arguments.out, done, name, steps)

    steps, batch, save = phase("codes", arguments.code_batch, arguments.code_steps)
    if done.get("codes", 0) < steps:
        seeing.train_codes(loaded.magvit, scenes, seed, steps, batch)
        save(steps)
    steps, batch, save = phase("pictures", arguments.picture_batch, arguments.picture_steps)
    seeing.train(loaded.magvit, scenes, seed, steps, batch, done.get("pictures", 0), save)
    policy = ShowoPolicy(loaded)
    policy.sample_on(arguments.device, "float32")
    scenes = seeing.coded(policy.vision, scenes)
    learning.share_digits(policy.module, seed)
    steps, batch, save = phase("phrases", arguments.phrase_batch, arguments.phrase_steps)
    if done.get("phrases", 0) < steps:
        look, layers = partial(learning.seen, policy), policy.fsdp_units()[: learning.SEEING]
        width = policy.module.config.phi.hidden_size
        phrases.train(policy.module, look, layers, width, scenes, seed, steps, batch)
        save(steps)
    steps, batch, save = phase("lessons", arguments.batch, arguments.steps)
    taught = learning.Phase(steps, batch, arguments.rate, arguments.drawing, arguments.bfloat16)
    learning.train(policy, scenes, seed, taught, done.get("lessons", 0), save)


def begun(start: Path | None, seed: int) -> tuple[Loaded, dict[str, int]]:
    """A new toy, or the one of a folder, and how many steps of each phase are done."""
    if start is None:
        return model.new(vocabulary(), seed), {}
    return checkpoint.load(start), json.loads((start / PROGRESS).read_bytes())


def _save(loaded: Loaded, out: Path, done: dict[str, int], name: str, last: int, step: int) -> None:
    """Also on the way, so that a cut run leaves something to start from."""
    done[name] = step
    if dist.get_rank() == 0 and (step % SAVE_EVERY == 0 or step == last):
        module = ShowoModule(loaded.module.config)
        copy_plain(loaded.module, module)
        checkpoint.save(out, replace(loaded, module=module))
        (out / PROGRESS).write_text(json.dumps(done))


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    parser = shared_parser(__doc__, 100_000)
    parser.add_argument(
        "--start",
        type=Path,
        help="a folder that was written before: goes on where that was cut, without its momenta",
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
