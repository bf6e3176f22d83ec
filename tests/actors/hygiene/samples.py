"""Real pictures, and a real CLIP that is very small and knows nothing."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from policies.interface import Picture

PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
"""A portrait, in which NudeNet finds a face."""
FEATURES = 12


def photo() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB")


def portrait() -> Picture:
    return Picture(np.array(photo()))


def landscape(seed: int = 0) -> Picture:
    """Smooth colours, as a sky has them, and nobody in it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Picture(np.array(Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC)))


def saved_again(image: Image.Image, quality: int = 60) -> np.ndarray:
    """As a JPEG, which no pixel survives as it was."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file) as again:
        return np.array(again.convert("RGB"))


def save_clip(folder: Path) -> Path:
    """A CLIP with random weights, as transformers saves it."""
    torch.manual_seed(0)
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    words = {word: at for at, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    last = words["<|endoftext|>"]
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(words), "max_position_embeddings": 10,
                     "bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=FEATURES,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer(vocab=words, merges=[]).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)  # fmt: skip
    return folder
