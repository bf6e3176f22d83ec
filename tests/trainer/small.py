"""What the trainer's tests share: a very small policy and groups with made-up scores."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch.distributed as dist

from actors.replay.records import JudgedGroup, Judgement, Rollout
from policies.interface import Example, Pattern, Picture, PictureSampling, learned
from policies.seeds import generator
from policies.tiny.policy import TinyPolicy
from policies.tiny.vision import VisionConfig
from trainer.config import TrainerConfig

NUMBERS, COLOURS, SHAPES = ("one", "two", "three"), ("red", "blue", "green"), ("circle", "square")
WORDS = (*NUMBERS, *COLOURS, *SHAPES, "judge", "describe", "right", "wrong", "count", "colour")
VISION = VisionConfig(size=16, channels=(8, 8, 8), blocks=1)
SIZES = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16}
# A tiny eps lets a gradient of nothing but rounding move a weight by lr; not what is tested.
TRAINER = TrainerConfig(
    workers=2, cpus=0.5, lr=1e-3, warmup_steps=2, eps=1e-8, ema=0.9, groups_per_step=4,
    checkpoint_every=2,
)  # fmt: skip


def small_policy(seed: int = 0) -> TinyPolicy:
    return TinyPolicy.create(WORDS, seed, VISION, **SIZES, intermediate_size=48)


def save_small_policy(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    small_policy().save_pretrained(folder)
    return str(folder)


def picture(*key: int | str) -> Picture:
    random = generator("picture", *key)
    pixels = random.integers(0, 256, size=(VISION.size, VISION.size, 3), dtype=np.uint8)
    return Picture(pixels, random.integers(0, VISION.codes, size=4, dtype=np.int32))


def group(
    index: int, scores: tuple[float | None, ...] | None = None, round_: int = 1, reason: str = ""
) -> JudgedGroup:
    """A group of four rollouts; without `scores`, keyed ones of which the best is 9."""
    random = generator("group", round_, index)
    if scores is None:
        scores = (9.0, *(float(s) for s in random.integers(0, 10, size=3)))
    prompt = " ".join(str(random.choice(words)) for words in (NUMBERS, COLOURS, SHAPES))
    rollouts = tuple(
        Rollout(
            k, PictureSampling(), learned(picture(round_, index, k)),
            Judgement("count right" if (s or 0) > 5 else "colour wrong", s, 1),
        )
        for k, s in enumerate(scores)
    )  # fmt: skip
    return JudgedGroup(round_, index, "counting", "one kind", prompt, index, 0, 0, rollouts, reason)


def small_batch(step: int, size: int = 3) -> dict[Pattern, tuple[Example, ...]]:
    """Examples of all patterns, other ones each step; two captions only, one reflection."""
    from actors.roles.templates import load_templates
    from trainer.config import RunConfig
    from trainer.patterns import reconstruct

    templates = load_templates("tiny")
    groups = [group(100 * step + i, (9.0, 2.0, 5.0)) for i in range(size)]
    made = [reconstruct(g, RunConfig(), templates) for g in groups]
    counts: dict[Pattern, int] = {
        "generation": size, "caption": 2, "judgement": size, "reflection": 1
    }  # fmt: skip
    return {p: tuple(m[p] for m in made[:count]) for p, count in counts.items()}


@contextmanager
def group_of_one() -> Iterator[None]:
    """This process as the only one of a process group."""
    dist.init_process_group("gloo", init_method=meeting_place(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def meeting_place() -> str:
    """Where the ranks of a test meet: a file, for a port that is free may be somebody else's by then."""
    return f"file://{tempfile.gettempdir()}/ranks-{secrets.token_hex(8)}"
