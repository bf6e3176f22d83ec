"""Trains the toy to read, to write, and to call the tool that draws.

Invariant: what is read and learned is laid out by `policies.tools.layout`, as the policy does it. Drawing is
learned as calls alone: after a prompt the call that says it, or, for half of those that can be, says it mixed
up, as captions on the web do. A step follows from (seed, worker, step) and the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch.distributed as dist

from policies.interface import Example, learned
from policies.pretraining.log import Log
from policies.pretraining.muon import Muon, matrices
from policies.pretraining.parts import parts_of
from policies.seeds import generator
from policies.tiny import lessons
from policies.tools.calls import Call
from policies.tools.policy import ToolsPolicy

SPOKEN = 12
"""One lesson in so many has no picture."""


def train(
    policy: ToolsPolicy, scenes: Sequence[lessons.Scene], seed: int, steps: int, batch: int, rate: float,
    save: Callable[[int], None],
) -> None:  # fmt: skip
    """`batch` lessons of this worker a step, after each of which `save` is called with its number. `rate` is
    the highest of AdamW; Muon's is ten times that."""
    module = policy.module.requires_grad_(True)
    # Steps of one size would undo what the eyes learned before.
    module.model.vision_tower.requires_grad_(False)
    learning = [each for each in module.parameters() if each.requires_grad]
    turned, others = matrices(module.units(), learning)
    optimizer, log = Muon(turned, others, rate, 10 * rate, steps), Log("lessons", steps)
    shown = [scene for scene in scenes if not scene.wordless]
    for step in range(1, steps + 1):
        rng = generator(seed, "lessons", dist.get_rank(), step)
        figures = learn(policy, taught(shown, batch, rng))
        optimizer.step()
        log(step, **figures)
        save(step)
    module.requires_grad_(False)


def taught(scenes: Sequence[lessons.Scene], batch: int, rng: np.random.Generator) -> list[Example]:
    """A step's examples, with fixed shares of those of a scene and those without."""
    spoken = batch // SPOKEN
    chosen = rng.integers(len(scenes), size=batch - spoken)
    return [lesson(scenes[i], rng) for i in chosen] + [lessons.spoken(rng) for _ in range(spoken)]


def lesson(scene: lessons.Scene, rng: np.random.Generator) -> Example:
    """One thing to learn from `scene`, which is not a wordless one."""
    if not scene.spoilt and rng.random() < lessons.DRAWING:
        return call(scene, rng)
    return lessons.lesson(scene, rng, 0.0)


def call(scene: lessons.Scene, rng: np.random.Generator) -> Example:
    """In place of the drawing of a scene the call that draws it."""
    said = Call("draw", lessons.web_caption(scene.prompt, rng).text).text()
    return Example((scene.prompt.text,), learned(said), "generation")


def learn(policy: ToolsPolicy, examples: Sequence[Example]) -> dict[str, float]:
    """Adds the gradient of the mean loss per token; returns that of texts and that of calls."""
    made = [(policy.layout.lesson(each), each.pattern == "generation") for each in examples]
    count = sum(len(each.places) for each, _ in made)
    sums, counts = dict.fromkeys((False, True), 0.0), dict.fromkeys((False, True), 0)
    for part in parts_of(made, lambda each: len(each[0].read.ids), policy.device):
        nats = policy.nats([each for each, _ in part])
        (nats.sum() / count).backward()
        lengths = [len(each.places) for each, _ in part]
        for (_, calls), own in zip(part, nats.detach().split(lengths), strict=True):
            sums[calls] += float(own.sum())
            counts[calls] += len(own)
    names = {"text": False, "calls": True}
    return {name: sums[calls] / max(counts[calls], 1) for name, calls in names.items()}
