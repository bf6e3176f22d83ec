"""The golden BAGEL, its tensors in and out, and its training batch as samples."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.config import BagelConfig
from policies.bagel.module import BagelModule
from policies.bagel.released import read_config
from policies.bagel.samples import Features, Format, Latents, Noise, Sample, Split, Text
from policies.flow import noisy
from policies.flowing.latents import patches_of

torch.set_num_threads(1)
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "bagel_tiny"
MARKS = (150, 151, 152, 153)


def close(found: Tensor, wanted: Tensor, atol: float = 1e-4) -> None:
    assert found.shape == wanted.shape
    assert (worst := (found - wanted).abs().max().item()) <= atol, worst


@cache
def tensors(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


@cache
def numbers(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


def write_small_files(folder: Path, **changed: dict[str, object]) -> None:
    """The three small files of a released folder: the golden's, with fields changed by section."""
    said = numbers("config")
    for section, name in (("llm", "llm_config"), ("vit", "vit_config"), ("bagel", "config")):
        fields = said[section] | changed.get(section, {})
        (folder / f"{name}.json").write_text(json.dumps(fields))


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors(name).items()}


@cache
def config() -> BagelConfig:
    with TemporaryDirectory() as folder:
        write_small_files(Path(folder))
        return read_config(Path(folder), shapes("bagel"), shapes("vae"))


def form() -> Format:
    return Format.of(config(), *MARKS)


def module() -> BagelModule:
    """With weights of its own, that learn."""
    made = BagelModule(config())
    made.load_state_dict(tensors("bagel"))
    return made


def autoencoder() -> Autoencoder:
    made = Autoencoder(config().autoencoder)
    made.load_state_dict(tensors("vae"))
    return made.eval().requires_grad_(False)


def features(pixels: Tensor) -> Features:
    grid = (pixels.shape[1] // 14, pixels.shape[2] // 14)
    return Features(patches_of(pixels, 14), grid)


def training_samples(name: str) -> tuple[list[Sample], Tensor]:
    """The golden batch of this shift, and the targets of its velocities."""
    given = tensors("train") | tensors(name)
    reader = _Reader(given, numbers("train")["patchified_vae_latent_shapes"])
    lengths, modes = numbers("train")["split_lens"], numbers("train")["attn_modes"]
    ends = torch.tensor(numbers("train")["sample_lens"]).cumsum(0).tolist()
    samples: list[list[Split]] = [[]]
    at = 0
    for length, mode in zip(lengths, modes):
        samples[-1].append(reader.split(at, length, mode))
        at += length
        if at in ends[:-1]:
            samples.append([])
    return list(samples), torch.cat(reader.targets)


class _Reader:
    def __init__(self, given: dict[str, Tensor], grids: list[list[int]]) -> None:
        self.given, self.grids = given, [(rows, columns) for rows, columns in grids]
        self.pictures = 0
        self.latents = 0
        self.targets: list[Tensor] = []

    def split(self, at: int, length: int, mode: str) -> Split:
        ids, indexes = self.given["in_packed_text_ids"], self.given["in_packed_text_indexes"]
        if mode == "causal":
            own = ids[(indexes > at) & (indexes < at + length - 1)]
            return Text(own.tolist(), bool((self.given["in_ce_loss_indexes"] == at).any()))
        inside = self.given["in_packed_vit_token_indexes"]
        patches = self.given["in_packed_vit_tokens"][(inside > at) & (inside < at + length)]
        if len(patches):
            spots = self.given["in_packed_vit_position_ids"][(inside > at) & (inside < at + length)]
            return Features(patches, (int(spots[-1]) // 8 + 1, int(spots[-1]) % 8 + 1))
        return self._latents(length - 2, mode)

    def _latents(self, count: int, mode: str) -> Split:
        grid = self.grids[self.pictures]
        height, width = (2 * side for side in grid)
        clean = patches_of(self.given["in_padded_latent"][self.pictures, :, :height, :width], 2)
        own = slice(self.latents, self.latents + count)
        noise, time = (self.given[f"in_{name}"][own] for name in ("noise", "packed_timesteps"))
        self.pictures += 1
        self.latents += count
        if mode == "full":
            return Latents(clean, grid)
        self.targets.append(noise - clean)
        return Noise(noisy(clean, noise, float(time[0])), grid, float(time[0]))
