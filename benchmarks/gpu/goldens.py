"""The golden tensors on this device: what its kernels change of the reference's numbers, with dense
masks and with flex_attention's blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu.figures import Card, Figure
from policies.bagel.samples import Text
from policies.bagel.sequence import packed
from policies.flowing import masks
from policies.flowing.drawing import Contexts, Drawings
from tests.policies.bagel import golden


def figures(card: Card, small: bool) -> Iterator[Figure]:
    """The largest errors in float32 without TF32, and relative ones in bfloat16, by which the
    reference's own rounding changes a velocity by 0.7 %."""
    # Convolutions alone would use TF32: that is torch's default.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for dtype in (torch.float32, torch.bfloat16):
            yield from _training(card, dtype, "dense")
            if card.device == "cuda":  # uncompiled they have no backward pass
                yield from _training(card, dtype, "blocks")
            yield from _drawn(card, dtype)


def _training(card: Card, dtype: torch.dtype, kind: str) -> Iterator[Figure]:
    """Of the packed training batch, and the norm of its gradient."""
    module = golden.module().to(card.device, dtype).requires_grad_(True)
    samples, _ = golden.training_samples("train")
    batch, wanted = packed(samples, golden.form()).on(card.device), golden.tensors("train")
    build = masks.blocks if kind == "blocks" else masks.dense
    logits, velocities = module(replace(batch, mask=build(batch.sight)))
    losses = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none")
    said = f"{str(dtype)[6:]}, {kind}"
    yield _figure(f"BAGEL's golden cross-entropy, {said}", losses, wanted["out_ce"], dtype)
    yield _figure(f"BAGEL's golden velocities, {said}", velocities, wanted["out_velocity"], dtype)
    (losses.mean() + velocities.square().mean()).backward()
    grads = [p.grad.float().cpu() for p in module.parameters() if p.grad is not None]
    norm = torch.stack([g.norm() for g in grads]).norm()
    yield Figure(f"BAGEL's gradient norm, {said}", norm.item(), "")


def _drawn(card: Card, dtype: torch.dtype) -> Iterator[Figure]:
    """Of a guided drawing's branches in a cache, and of the autoencoder."""
    module = golden.module().to(card.device, dtype).requires_grad_(False)
    given = golden.tensors("t2i")
    text = Text(given["prompt_ids"].tolist())
    with torch.inference_mode():
        read = Contexts(module, golden.form(), [[text], []])
        draw = Drawings(module, golden.form(), read, torch.arange(2)[:, None], [(3, 4)])
        x = given["x_t"][None].to(card.device)
        found = draw(x, given["t"][None], torch.zeros(2, dtype=torch.int64), torch.arange(2))
        for branch, name in enumerate(("cond", "text_uncond")):
            wanted = given[f"out_v_{name}"]
            yield _figure(
                f"BAGEL's drawing, {name}, {str(dtype)[6:]}", found[branch], wanted, dtype
            )
        if dtype == torch.float32:
            seen = golden.tensors("vae_io")
            encoder = golden.autoencoder().to(card.device).encoder
            moments = encoder(seen["x"].to(card.device))
            yield _figure("BAGEL's encoder, float32", moments, seen["out_moments"], dtype)


def _figure(name: str, found: Tensor, right: Tensor, dtype: torch.dtype) -> Figure:
    error = found.detach().cpu().float() - right
    if dtype == torch.float32:
        return Figure(f"{name}: largest error", error.abs().max().item(), "")
    return Figure(f"{name}: relative error", (error.norm() / right.norm()).item(), "")
