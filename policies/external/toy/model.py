"""The sizes of the toy, and a toy that has learned nothing yet but to see, to write, and to decode.

Invariant: a new toy follows from its seed, from the language model and from the autoencoder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.config import AutoencoderConfig
from policies.external.create import create
from policies.external.toy.autoencoder import converted

SLOTS = 16
STEPS = 12
WIDTH, SIDE = 128, 6
SHIFT = 3.0
"""How far times are moved towards the noise, while learning and while drawing: there is decided what is
drawn."""


def write(
    folder: Path, language: Path, autoencoder: Autoencoder, config: AutoencoderConfig, seed: int
) -> None:
    """A checkpoint whose bridge and denoiser have learned nothing. Raises CheckpointError, ConfigError."""
    with tempfile.TemporaryDirectory() as made, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline(Path(made), autoencoder, config)
        create(
            folder, language, Path(made), "queries", slots=SLOTS, steps=STEPS, decoder="learned",
            seed=seed,
        )  # fmt: skip


def pipeline(folder: Path, autoencoder: Autoencoder, config: AutoencoderConfig) -> None:
    """A PixArt (arXiv 2310.00426) without its text encoder, that draws by a rectified flow."""
    from diffusers import (
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtTransformer2DModel,
    )

    denoiser: Any = PixArtTransformer2DModel(
        num_attention_heads=4, attention_head_dim=WIDTH // 4, in_channels=config.latents,
        out_channels=config.latents, num_layers=4, cross_attention_dim=WIDTH, caption_channels=WIDTH,
        sample_size=SIDE, patch_size=1,
    )  # fmt: skip
    nn.init.normal_(denoiser.proj_out.weight, std=0.02)
    steps = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT
    )
    vae = converted(autoencoder, config)
    whole: Any = PixArtAlphaPipeline(None, None, vae, denoiser, steps)
    whole.save_pretrained(folder)
