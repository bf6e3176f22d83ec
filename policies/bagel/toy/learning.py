"""Trains the toy's transformer: to read and to write by cross-entropy, to draw by a rectified flow.

Invariant: what is read and learned is laid out by `policies.bagel.layout`, as the policy does it.
A step follows from (seed, worker, step) and the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from policies import flow
from policies.bagel.checkpoint import DRAWING
from policies.bagel.layout import Layout
from policies.bagel.module import BagelModule
from policies.bagel.samples import Format, Noise, Sample, Split
from policies.bagel.sequence import padded
from policies.flowing.samples import length
from policies.interface import Example, Picture, learned
from policies.pretraining.log import Log
from policies.pretraining.muon import Muon, matrices
from policies.pretraining.parts import parts_of
from policies.seeds import generator
from policies.tiny import lessons

COPIES = 4
"""Noisy copies of a picture at times of their own after one text, none of which sees another."""
UNTOLD = 0.1
"""The share of drawings that are learned without their text, so that guidance knows them."""
WEIGHTS = {"text": 1.0, "latents": 1.0}
SPOKEN = 12
"""One lesson in so many has no picture."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """A sample, and the velocities of its noisy pictures: float32 [latents, values]."""

    sample: Sample
    velocities: Tensor


class Phase(NamedTuple):
    """What is taught: `everything` but the eyes, or drawing alone, by the expert that draws."""

    name: str
    everything: bool
    steps: int
    batch: int
    """Lessons a step, of all workers."""
    rate: float
    """The highest of AdamW; Muon's is ten times that."""
    shift: float
    """Moves the times that are learned towards the noise."""
    mixed_up: bool = False
    """Whether drawing alone is taught by captions as the web has them, and not by true ones."""


def train(
    module: BagelModule, layout: Layout, scenes: Sequence[lessons.Scene], seed: int, phase: Phase,
    save: Callable[[int], None],
) -> None:  # fmt: skip
    """After every step `save` is called with its number."""
    module.requires_grad_(False).train()
    for name, weight in module.named_parameters():
        # Steps of one size would undo what the eyes learned before.
        weight.requires_grad_(not name.startswith("vit_model") if phase.everything else draws(name))
    learning = [each for each in module.parameters() if each.requires_grad]
    turned, others = matrices(module.units(), learning)
    optimizer = Muon(turned, others, phase.rate, 10 * phase.rate, phase.steps)
    teach = taught if phase.everything else partial(drawn, mixed_up=phase.mixed_up)
    log = Log(phase.name, phase.steps)
    batch = phase.batch // dist.get_world_size()
    for step in range(1, phase.steps + 1):
        rng = generator(seed, phase.name, dist.get_rank(), step)
        examples = teach(scenes, batch, rng)
        made = [lesson(layout, each, phase.shift, rng) for each in examples]
        figures = learn(module, layout.form, made)
        optimizer.step()
        log(step, **figures)
        save(step)
    module.requires_grad_(False).eval()


def draws(name: str) -> bool:
    """Whether the parameter is one of the expert of latents, or of what is around it."""
    return "_moe_gen" in name or name.startswith(DRAWING)


def drawn(
    scenes: Sequence[lessons.Scene], batch: int, rng: np.random.Generator, mixed_up: bool
) -> list[Example]:
    """A step's examples where only drawing is taught."""
    found: list[Example] = []
    while len(found) < batch:
        scene = scenes[int(rng.integers(len(scenes)))]
        if scene.spoilt:
            continue
        told = lessons.web_caption(scene.prompt, rng) if mixed_up else scene.prompt
        context = ("",) if scene.wordless else (told.text,)
        found.append(Example(context, learned(scene.picture), "generation"))
    return found


def taught(scenes: Sequence[lessons.Scene], batch: int, rng: np.random.Generator) -> list[Example]:
    """A step's examples of everything, with fixed shares of those with a picture and those
    without."""
    spoken = batch // SPOKEN
    chosen = rng.integers(len(scenes), size=batch - spoken)
    made = [lessons.lesson(scenes[i], rng) for i in chosen]
    return made + [lessons.spoken(rng) for _ in range(spoken)]


def lesson(layout: Layout, example: Example, shift: float, rng: np.random.Generator) -> Lesson:
    """`example` as the layout has it, but for a drawing with several noisy copies."""
    (part,) = example.target
    if isinstance(part.segment, str):
        context: list[Split] = layout.context(example.context, drawing=False)
        none = torch.zeros(0, layout.form.latent_values)
        return Lesson([*context, layout.text(part.segment, learned=True)], none)
    told = example.context != ("",) and rng.random() >= UNTOLD
    context = layout.context(example.context, drawing=True) if told else []
    return Lesson(*_copies(layout, context, part.segment, shift, rng))


def _copies(
    layout: Layout, context: Sequence[Split], picture: Picture, shift: float,
    rng: np.random.Generator,
) -> tuple[Sample, Tensor]:  # fmt: skip
    tokens, grid = layout.latents(picture)
    raw = torch.from_numpy(rng.standard_normal(COPIES, dtype=np.float32))
    noise = torch.from_numpy(rng.standard_normal((COPIES, *tokens.shape), dtype=np.float32))
    times = flow.learning_times(raw, shift)
    copies = [
        Noise(flow.noisy(tokens, own, time), grid, float(time)) for own, time in zip(noise, times)
    ]
    return [*context, *copies], torch.cat([flow.target(tokens, own) for own in noise])


def learn(module: BagelModule, form: Format, made: Sequence[Lesson]) -> dict[str, float]:
    """Adds the gradient of the weighted mean losses per token and per latent value; returns both."""
    device = next(module.parameters()).device
    parts = parts_of(made, lambda each: length(each.sample), device)
    batches = [padded([each.sample for each in part], form).on(device) for part in parts]
    words = sum(len(batch.labels) for batch in batches)
    values = sum(each.velocities.numel() for each in made)
    figures = dict.fromkeys(WEIGHTS, 0.0)
    for part, batch in zip(parts, batches):
        read = module(batch)
        wanted = torch.cat([each.velocities for each in part]).to(device)
        losses = {
            "text": F.cross_entropy(read.logits, batch.labels, reduction="sum") / max(words, 1),
            "latents": F.mse_loss(read.velocities, wanted, reduction="sum") / max(values, 1),
        }
        torch.stack([WEIGHTS[kind] * loss for kind, loss in losses.items()]).sum().backward()
        for kind, loss in losses.items():
            figures[kind] += float(loss.detach())
    return figures
