"""Fits the toy's projector to what the toy BAGEL tells its language model of a picture.

BAGEL norms what its eyes see and adds where a patch is; LLaVA does neither, so its projector learns both
before anything is written.

Invariant: eyes and language model stay as they are. A step follows from (seed, worker, step) and the weights
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from policies.bagel.module import BagelModule
from policies.pretraining.log import Log
from policies.pretraining.optimizer import Optimizer
from policies.pretraining.scenes import pixels_of
from policies.seeds import generator
from policies.tiny.lessons import Scene

RATE = 1e-3
FIRST = 256
"""Scenes by which it begins."""


def train(
    model: Any, given: BagelModule, scenes: Sequence[Scene], seed: int, steps: int, batch: int
) -> None:
    """`model` is transformers' LlavaModel with the eyes of `given`; a step has `batch` pictures of this
    worker."""
    projector, states = (
        model.multi_modal_projector.requires_grad_(True),
        _states(model, scenes[:FIRST]),
    )
    begin(projector, given, states)
    for (
        weight
    ) in projector.parameters():  # all workers must have the same, and begin with other scenes
        dist.broadcast(weight.data, 0)
    optimizer, log = Optimizer(list(projector.parameters()), RATE, steps), Log("projector", steps)
    for step in range(1, steps + 1):
        rng = generator(seed, "projector", dist.get_rank(), step)
        states = _states(model, [scenes[i] for i in rng.integers(len(scenes), size=batch)])
        missed = (projector(states) - told(given, states)).square().mean()
        missed.backward()
        optimizer.step()
        log(step, missed=missed.item())


@torch.no_grad()
def begin(projector: Any, given: BagelModule, states: Tensor) -> None:
    """The connector of `given`. All of the norm before it goes into its first linear map, but that it divides
    by the deviation of each patch: here by the mean one of these states."""
    norm, connector = given.vit_model.vision_model.post_layernorm, given.connector
    scaled = connector.fc1.weight * norm.weight / states.std(-1).mean()
    projector.linear_1.weight.copy_(scaled - scaled.mean(1, keepdim=True))
    projector.linear_1.bias.copy_(connector.fc1.bias + connector.fc1.weight @ norm.bias)
    projector.linear_2.load_state_dict(connector.fc2.state_dict())


def _states(model: Any, scenes: Sequence[Scene]) -> Tensor:
    return seen(model, pixels_of([scene.picture.pixels for scene in scenes]))


@torch.no_grad()
def seen(model: Any, pixels: Tensor) -> Tensor:
    """float32 [pictures, 3, height, width] from -1 to 1 -> what the projector gets [pictures, patches,
    width]."""
    layer = model.config.vision_feature_layer
    looked = model.vision_tower(pixels.to(model.device), output_hidden_states=True)
    states: Tensor = looked.hidden_states[layer]
    return states


@torch.no_grad()
def told(given: BagelModule, states: Tensor) -> Tensor:
    """What BAGEL makes of the same [pictures, patches, hidden]."""
    embedded: Tensor = given.connector(given.vit_model.vision_model.post_layernorm(states))
    return embedded + given.vit_pos_embed.pos_embed
