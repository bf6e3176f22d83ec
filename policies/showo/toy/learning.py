"""Trains the toy's transformer: to read and to write by cross-entropy, to draw by guessing what is
masked.

Invariant: what is read and learned is laid out and masked by `policies.showo.layout`, as the policy does
it. A step follows from (seed, worker, step) and the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from policies.interface import Example, ExampleKey
from policies.pretraining.digits import Digits, share
from policies.pretraining.log import Log
from policies.pretraining.muon import Muon, matrices
from policies.pretraining.parts import parts_of
from policies.seeds import derive, generator
from policies.showo.layout import Lesson
from policies.showo.module import ShowoModule
from policies.showo.policy import ShowoPolicy
from policies.showo.toy.model import SPREAD
from policies.tiny import lessons

UNTOLD = 0.1
"""The share of drawings that are learned without their text, so that guidance knows them."""
SPOKEN = 12
"""One lesson in so many has no picture."""
SEEING = 3
"""So many layers learn to see before all learn to read: what they see must be there for those above."""


class Phase(NamedTuple):
    steps: int
    batch: int
    """Lessons a step of this worker."""
    rate: float
    """The highest of AdamW; Muon's is ten times that."""
    drawing: float
    """How many of the lessons with a whole picture are drawings."""
    bfloat16: bool


def share_digits(module: ShowoModule, seed: int) -> None:
    """Makes the rows of codes in embedding and head sums over `Digits` from now on."""
    config, language = module.config, module.showo
    bits = config.magvit.bits
    tables = ((language.model.embed_tokens, SPREAD * bits**-0.5), (language.lm_head, 0.01))
    for place, (table, deviation) in enumerate(tables):
        start, width = derive(seed, "digits", place), config.phi.hidden_size
        digits = Digits((2,) * bits, config.first_code, config.vocabulary, width, start, deviation)
        share(table, digits)


def seen(policy: ShowoPolicy, scenes: Sequence[lessons.Scene]) -> Tensor:
    """A `policies.pretraining.phrases.Look`, but for the first argument: what the first layers make of
    pictures that are to be understood."""
    module, layout = policy.module, policy.layout
    first = module.config.first_code
    pictures = [scene.picture for scene in scenes]
    codes = policy.vision.codes_of(pictures)
    ids = torch.tensor(
        [
            (layout.to_write, *layout.picture(code + first for code in codes[id(each)]))
            for each in pictures
        ],
        device=policy.device,
    )
    model: Any = module.showo.model
    x = model.embed_tokens(ids)
    turned = model.rotary_emb(x, position_ids=torch.arange(ids.shape[1], device=ids.device)[None])
    for layer in model.layers[:SEEING]:
        x = layer(x, position_embeddings=turned)
    return F.layer_norm(x[:, 2:-1], x.shape[-1:])


def train(
    policy: ShowoPolicy, scenes: Sequence[lessons.Scene], seed: int, phase: Phase, done: int,
    save: Callable[[int], None],
) -> None:  # fmt: skip
    """Takes the steps after those that are `done`. After every one `save` is called with its number."""
    module, rank = policy.module.requires_grad_(True).train(), dist.get_rank()
    turned, others = matrices(policy.fsdp_units(), list(module.parameters()))
    optimizer = Muon(turned, others, phase.rate, 10 * phase.rate, phase.steps)
    optimizer.done, batch = done, phase.batch
    log = Log("lessons", phase.steps, done)
    for step in range(done + 1, phase.steps + 1):
        rng = generator(seed, "lessons", rank, step)
        examples = [
            replace(each, key=ExampleKey(seed, step, rank * batch + i))
            for i, each in enumerate(taught(scenes, batch, phase.drawing, rng))
        ]
        figures = learn(policy, policy.layout.lessons(examples), phase.bfloat16)
        optimizer.step()
        log(step, **figures)
        save(step)
    module.requires_grad_(False).eval()


def taught(
    scenes: Sequence[lessons.Scene], batch: int, drawing: float, rng: np.random.Generator
) -> list[Example]:
    """A step's examples, with fixed shares of those with a picture and those without."""
    spoken = batch // SPOKEN
    chosen = rng.integers(len(scenes), size=batch - spoken)
    made = [lessons.lesson(scenes[i], rng, drawing) for i in chosen]
    untold = rng.random(len(made)) < UNTOLD
    made = [
        replace(each, dropped=frozenset({"text"})) if each.draws and alone else each
        for each, alone in zip(made, untold, strict=True)
    ]
    return made + [lessons.spoken(rng) for _ in range(spoken)]


def learn(policy: ShowoPolicy, made: Sequence[Lesson], bfloat16: bool) -> dict[str, float]:
    """Adds the gradient of the mean loss per word plus that per hidden code; returns both."""
    counts = {
        kind: sum(len(each.wanted) for each in made if each.kind == kind)
        for kind in ("text", "codes")
    }
    figures = dict.fromkeys(counts, 0.0)
    for part in parts_of(made, lambda each: len(each.ids), policy.device):
        # Plain products: at these lengths they train faster on a CPU than fused attention.
        plain = sdpa_kernel(SDPBackend.MATH)
        with plain, torch.autocast(policy.device.type, torch.bfloat16, enabled=bfloat16):
            nats = policy.nats(part)
        means = [own.sum() / counts[lesson.kind] for lesson, own in zip(part, nats, strict=True)]
        torch.stack(means).sum().backward()
        for lesson, mean in zip(part, means, strict=True):
            figures[lesson.kind] += float(mean.detach())
    return figures
