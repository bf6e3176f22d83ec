"""Training steps at real sizes through FSDP2 on one card: float32 masters, bfloat16 arithmetic."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.gpu import bagel, janus
from benchmarks.gpu.figures import Card, Figure, peak_gib, seconds
from policies.interface import Example, ExampleKey, Picture, Policy, learned
from policies.janus.sizes import KNOWN
from tests.policies.bagel.small import CONFIG as SMALL
from tests.policies.janus import GOLDEN
from trainer.batches import shares_for_rank
from trainer.config import TrainerConfig
from trainer.learner import Learner

BATCH = 8


def figures(card: Card, small: bool) -> Iterator[Figure]:
    """Janus-Pro-1B whole; BAGEL by adapters, for its weights and Adam's moments need eight cards."""
    backend = "nccl" if card.device == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
        try:
            yield _janus(card, small)
            gc.collect()  # modules that are computed again refer to themselves
            if card.device == "cuda":
                torch.cuda.empty_cache()
            yield _bagel(card, small)
        finally:
            dist.destroy_process_group()


def _janus(card: Card, small: bool) -> Figure:
    file = GOLDEN / "hf_config.json" if small else KNOWN / "Janus-Pro-1B.json"
    policy = janus.policy_of(file, "cpu", torch.float32)
    policy.module.requires_grad_(True)
    codes, side = policy.module.features, policy.size
    pictures = [
        Picture(np.zeros((side, side, 3), np.uint8), np.arange(codes, dtype=np.int32) % 60)
        for _ in range(BATCH)
    ]
    layers = policy.module.model.language_model
    weights = sum(w.numel() for w in layers.layers.parameters())
    flops = 6.0 * BATCH * (codes + 20) * weights
    return _step(card, policy, pictures, flops, f"Janus-Pro-{'tiny' if small else '1B'}, whole")


def _bagel(card: Card, small: bool) -> Figure:
    config, side = (SMALL, 32) if small else (bagel.REAL, 1024)
    policy = bagel.policy_of(config, card.device, torch.float32 if small else torch.bfloat16)
    policy.adapt(16, 32)
    for weight in policy.module.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    shape = (config.autoencoder.latents, *2 * (side // config.autoencoder.downsample,))
    pictures = [
        Picture(np.zeros((side, side, 3), np.uint8), None, torch.zeros(shape)) for _ in range(BATCH)
    ]
    # Forward and backward through frozen weights: two thirds of what learns as a whole.
    flops = 2.0 * BATCH * bagel.step_flops(config, side)
    return _step(card, policy, pictures, flops, f"BAGEL, {side} pixels, adapters of rank 16")


def _step(card: Card, policy: Policy, pictures: list[Picture], flops: float, name: str) -> Figure:
    config = TrainerConfig(precision="bfloat16", recompute=True, micro_batch=2)
    learner = Learner(policy, config, torch.device(card.device))
    batch = [
        Example((bagel.PROMPT,), learned(picture), "generation", ExampleKey(group=i))
        for i, picture in enumerate(pictures)
    ]
    shares = shares_for_rank(batch, 0, 1, config.micro_batch)
    taken, gib = peak_gib(lambda: seconds(lambda: learner.step({"generation": shares})))
    least = card.seconds(flops, 0.0)
    return Figure(f"{name}: a step of {BATCH}", BATCH / taken, "examples/s", BATCH / least, gib)
