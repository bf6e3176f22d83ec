"""Trains the toy's bridge and denoiser to draw, and its language model slowly with them.

Before that the slots learn to say what is to be drawn, word by word: what conditions the denoiser then means
something from the first step on.

Invariant: what is read and learned is laid out by `policies.external.layout`, as the policy does it.
Drawings are taught by captions of which half mix things up, and texts from true pairs, which keep what the
language model knows. A step follows from (seed, worker, step) and the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from policies import flow
from policies.external.module import blocks
from policies.external.policy import ExternalPolicy
from policies.interface import Example, Picture
from policies.pretraining.log import Log
from policies.pretraining.muon import Muon, matrices
from policies.pretraining.parts import parts_of
from policies.seeds import generator
from policies.tiny import lessons

UNTOLD = 0.1
"""The share of drawings that are learned without their text, so that guidance knows them."""
SPOKEN = 12
"""One text in so many has no picture."""


RATE = 1e-3
"""Of saying what is to be drawn."""


class Phase(NamedTuple):
    """`drawings` and `texts` of this worker a step; each drawing is shown with noise at `copies` times. `rate`
    is the highest of AdamW for what draws, and Muon's ten times that; the language model's are `slower`
    times theirs. Of the steps so many are `done` already."""

    steps: int
    done: int
    drawings: int
    copies: int
    texts: int
    rate: float
    slower: float


def say(
    policy: ExternalPolicy, scenes: Sequence[lessons.Scene], seed: int, steps: int, batch: int,
    texts: int,
) -> None:  # fmt: skip
    """Teaches the slots, and the language model with them, by `batch` prompts and `texts` of this worker a
    step."""
    module = policy.module.requires_grad_(True)
    module.bridge.leave.requires_grad_(False)
    module.denoiser.requires_grad_(False)
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    turned, others = matrices(module.language_model.layers, learning)
    optimizer, log = Muon(turned, others, RATE, 10 * RATE, steps), Log("words", steps)
    for step in range(1, steps + 1):
        rng = generator(seed, "words", dist.get_rank(), step)
        said = [text for text, _ in drawn(scenes, batch, rng) if text]
        nats = F.cross_entropy(*_words(policy, said))
        nats.backward()
        figures = write(policy, told(scenes, texts, rng))
        optimizer.step()
        log(step, words=float(nats.detach()), **figures)
    module.requires_grad_(False)


def _words(policy: ExternalPolicy, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """What each slot says, as logits [texts * slots, words], and what it shall say: the text's words, and
    that it ends; behind that, anything."""
    batch, places = policy.batch([policy.layout.begun(policy.layout.question((t,))) for t in texts])
    wanted = torch.full((len(texts), policy.config.slots), -100)
    for row, text in zip(wanted, texts, strict=True):
        ids = policy.chat.answer(text)[: len(row)]
        row[: len(ids)] = torch.tensor(ids)
    return policy.module(batch, places), wanted.flatten().to(places.device)


def train(
    policy: ExternalPolicy, scenes: Sequence[lessons.Scene], seed: int, phase: Phase,
    save: Callable[[int], None],
) -> None:  # fmt: skip
    """Of scenes with latents, but for the spoilt ones. After every step `save` is called with its
    number."""
    module = policy.module.requires_grad_(True)
    module.denoiser.disable_gradient_checkpointing()  # everything here is small
    optimizers = [
        _optimizer([module.bridge, module.denoiser], blocks(module.denoiser), phase, 1.0),
        _optimizer(
            [module.language_model, module.lm_head],
            module.language_model.layers,
            phase,
            phase.slower,
        ),
    ]
    log = Log("drawing", phase.steps - phase.done)
    for step in range(phase.done + 1, phase.steps + 1):
        rng = generator(seed, "drawing", dist.get_rank(), step)
        figures = draw(policy, drawn(scenes, phase.drawings, rng), phase.copies, rng)
        figures |= write(policy, told(scenes, phase.texts, rng))
        for optimizer in optimizers:
            optimizer.step()
        log(step - phase.done, **figures)
        save(step)
    module.requires_grad_(False)


def _optimizer(
    parts: Sequence[torch.nn.Module], layers: Sequence[torch.nn.Module], phase: Phase, scale: float
) -> Muon:
    learning = [weight for part in parts for weight in part.parameters()]
    turned, others = matrices(layers, learning)
    made = Muon(turned, others, scale * phase.rate, 10 * scale * phase.rate, phase.steps)
    made.done = phase.done
    return made


def drawn(
    scenes: Sequence[lessons.Scene], count: int, rng: np.random.Generator
) -> list[tuple[str, Picture]]:
    """What is to be drawn, and what came of it."""
    found: list[tuple[str, Picture]] = []
    while len(found) < count:
        scene = scenes[int(rng.integers(len(scenes)))]
        if scene.spoilt:
            continue
        text = "" if scene.wordless else lessons.web_caption(scene.prompt, rng).text
        found.append(("" if rng.random() < UNTOLD else text, scene.picture))
    return found


def told(scenes: Sequence[lessons.Scene], count: int, rng: np.random.Generator) -> list[Example]:
    """What is read and written, with fixed shares of that with a picture and that without."""
    spoken, found = count // SPOKEN, list[Example]()
    while len(found) < count - spoken:
        scene = scenes[int(rng.integers(len(scenes)))]
        if not scene.wordless:
            found.append(lessons.lesson(scene, rng, 0.0))
    return found + [lessons.spoken(rng) for _ in range(spoken)]


def draw(
    policy: ExternalPolicy, drawings: Sequence[tuple[str, Picture]], copies: int,
    rng: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """Adds the gradient of the mean squared error of the velocities; returns that error."""
    read = {text: policy.layout.question((text,)) for text, _ in drawings}
    batch, places = policy.batch([policy.layout.begun(read[text]) for text, _ in drawings])
    conditions = policy.module(batch, places, True).repeat_interleave(copies, 0)
    pictures = [picture for _, picture in drawings]
    noisy, times, wanted = noised(policy, pictures, copies, rng)
    missed = F.mse_loss(policy.decoder.denoise(noisy, times, conditions), wanted)
    missed.backward()
    return {"latents": float(missed.detach())}


def noised(
    policy: ExternalPolicy, pictures: Sequence[Picture], copies: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Each picture `copies` times: noisy, the times as the denoiser is told them, and the velocities."""
    schedule, device = policy.decoder.schedule, policy.device
    latents = [picture.latents for picture in pictures if picture.latents is not None]
    clean = torch.stack(latents).repeat_interleave(copies, 0)
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
    raw = torch.from_numpy(rng.standard_normal(len(clean), dtype=np.float32))
    times = flow.learning_times(raw, schedule.shift)
    noisy = flow.noisy(clean, noise, times[:, None, None, None])
    wanted = flow.target(clean, noise)
    return noisy.to(device), (times * schedule.count).to(device), wanted.to(device)


def write(policy: ExternalPolicy, examples: Sequence[Example]) -> dict[str, float]:
    """Adds the gradient of the mean nats of a token; returns them."""
    made = [policy.layout.text(each, str(each.target[0].segment)) for each in examples]
    count, total = sum(len(each.places) for each in made), 0.0
    for part in parts_of(made, lambda each: len(each.read.ids), policy.device):
        nats = policy.nats(part).sum() / count
        nats.backward()
        total += float(nats.detach())
    return {"text": total}
