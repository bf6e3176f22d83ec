"""The pipeline of diffusers that draws: frozen, but for a denoiser that shall learn.

Invariant: what is drawn is what the public pipeline draws from the same conditioning and the same
generators, for it is its own call; a row's noise comes from its own generator.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from policies.errors import one_line
from policies.external.config import BridgeConfig
from policies.external.pipeline import AGAIN, Described, class_of
from policies.external.schedule import Schedule
from policies.interface import CheckpointError, Picture
from policies.moving import moved
from policies.named_tensors import require_finite

AT_ONCE = 8
"""Drawings that take their steps together, and that pass through the autoencoder together."""


class Decoder:
    """`pipe` is the pipeline. `project`, of a bridge of embeddings alone, maps them to what
    conditions it."""

    def __init__(
        self, described: Described, pipe: Any, config: BridgeConfig, project: nn.Linear | None
    ) -> None:
        self.described, self.pipe, self.config, self.project = described, pipe, config, project
        self.denoiser: Any = getattr(pipe, described.denoiser)
        self.schedule = Schedule(pipe.scheduler, described.folder / "scheduler")
        self.scale = float(described.config.get("timestep_scale") or 1.0)
        pipe.set_progress_bar_config(disable=True)
        # Its gradient passes through it, and its activations would be larger than all else.
        self.denoiser.enable_gradient_checkpointing()
        for part in self._parts():
            part.requires_grad_(False).eval()
        self.denoiser.requires_grad_(config.decoder == "learned")
        if config.kind == "signals":
            self._require_prompts()

    def _parts(self) -> list[nn.Module]:
        text = getattr(self.pipe, "text_encoder", None)
        parts = (self.denoiser, self.pipe.vae, text, self.project)
        return [part for part in parts if part is not None]

    def follow(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        """Moves what is frozen to where the module is, and all but the autoencoder to its dtype."""
        for part in self._parts():
            if part is self.denoiser and self.config.decoder == "learned":
                continue
            moved(part, device, None if part is self.pipe.vae else dtype)

    # Learning

    def denoise(self, noisy: Tensor, times: Tensor, conditions: Tensor) -> Tensor:
        """noisy [rows, channels, side, side] at times [rows] under conditions [rows, tokens, width]
        -> what the denoiser predicts, float32 and as noisy. One that is frozen computes in the dtype
        of the conditions."""
        dtype = conditions.dtype
        if self.config.decoder == "frozen":
            moved(self.denoiser, conditions.device, dtype)
        made = self.denoiser(
            noisy.to(dtype), timestep=times * self.scale, encoder_hidden_states=conditions,
            return_dict=False,
        )  # fmt: skip
        predicted: Tensor = made[0].float()
        return predicted

    @torch.no_grad()
    def prompts(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoder makes of texts, cut off where it ends them: float32
        [texts, tokens, width]."""
        # As `encode_prompt`, which warns of every text that it cuts off.
        read = self.pipe.tokenizer(
            list(texts), padding="max_length", max_length=self.pipe.tokenizer.model_max_length,
            truncation=True, return_tensors="pt",
        )  # fmt: skip
        embedded: Tensor = self.pipe.text_encoder(read.input_ids.to(self.pipe.device))[0]
        return embedded.float()

    @torch.no_grad()
    def _require_prompts(self) -> None:
        read = self.prompts(["a"])
        found, wanted = tuple(read.shape[1:]), (self.config.tokens, self.config.width)
        if found != wanted:
            raise CheckpointError(
                f"{self.described.folder} has a text encoder that gives {found[0]} x {found[1]} numbers "
                f"of a prompt, but the signals of this bridge become {wanted[0]} x {wanted[1]}; use "
                "the pipeline that the bridge was made for."
            )
        device = self.pipe.device
        own = self.pipe.encode_prompt(["a"], device, 1, do_classifier_free_guidance=False)[0]
        if not torch.equal(own.float(), read):
            raise CheckpointError(
                f"{self.described.folder} is of class {self.described.kind.__name__}, which does more "
                "with a prompt than to encode it; use another kind of bridge, or Stable Diffusion."
            )

    # Drawing

    @torch.no_grad()
    def draw(
        self,
        conditions: Tensor,
        free: Tensor | None,
        guidance: float,
        steps: int,
        seeds: Sequence[int],
    ) -> Tensor:
        """Latents [rows, channels, side, side] under conditions [rows, tokens, width]; with `free`,
        those without texts, guided by `guidance`, which is above 1."""
        drawn, takes = [], inspect.signature(self.pipe.__call__).parameters
        pixels = self.described.pixels
        how: dict[str, Any] = {
            "num_inference_steps": steps, "height": pixels, "width": pixels, "output_type": "latent",
            "return_dict": False, "guidance_scale": 1.0 if free is None else guidance,
        }  # fmt: skip
        # Sana would look for the nearest of its own sizes, and asks for no text beside embeddings.
        unasked = {"use_resolution_binning": False, "negative_prompt": None}
        how |= {name: value for name, value in unasked.items() if name in takes}
        for start in range(0, len(conditions), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            given = {"": conditions[rows]} | ({} if free is None else {"negative_": free[rows]})
            for side, embeddings in given.items():
                how[f"{side}prompt_embeds"] = embeddings
                if self.described.masked:
                    ones = torch.ones(embeddings.shape[:2], dtype=torch.int64)
                    how[f"{side}prompt_attention_mask"] = ones.to(embeddings.device)
            chance = [torch.Generator().manual_seed(int(seed)) for seed in seeds[rows]]
            drawn.append(self.pipe(generator=chance, **how)[0])
        return torch.cat(drawn)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """uint8 [rows, height, width, 3], rounded as the pipeline rounds."""
        vae, shift = self.pipe.vae, self._shift
        shown = []
        for part in latents.split(AT_ONCE):
            made = vae.decode(
                part.to(vae.dtype) / vae.config.scaling_factor + shift, return_dict=False
            )
            shown.append(self.pipe.image_processor.postprocess(made[0].float(), output_type="np"))
        return np.asarray((np.concatenate(shown) * 255).round().astype(np.uint8))

    @torch.no_grad()
    def encode(self, pictures: Sequence[Picture]) -> Tensor:
        """Latents float32 [pictures, channels, side, side] on the CPU: of a diagonal Gaussian its
        mode."""
        vae, pixels = self.pipe.vae, self.described.pixels
        found = []
        for start in range(0, len(pictures), AT_ONCE):
            part = [Image.fromarray(p.pixels) for p in pictures[start : start + AT_ONCE]]
            read = self.pipe.image_processor.preprocess(part, height=pixels, width=pixels)
            made = vae.encode(read.to(vae.device, vae.dtype))
            latents = made.latent_dist.mode() if hasattr(made, "latent_dist") else made.latent
            found.append((latents - self._shift) * vae.config.scaling_factor)
        return torch.cat(found).float().cpu()

    @property
    def _shift(self) -> float:
        return float(self.pipe.vae.config.get("shift_factor") or 0.0)


def load(
    described: Described, config: BridgeConfig, dtype: torch.dtype, project: nn.Linear | None
) -> Decoder:
    """The pipeline without what a bridge makes needless: its text encoders, but for signals, and its
    filters. Raises CheckpointError."""
    parts: dict[str, Any] = {
        "scheduler": _loaded(described, "scheduler"),
        "vae": _weights(described, "vae", torch.float32),  # as diffusers advises, for its range
        described.denoiser: _weights(described, described.denoiser, dtype),
    }
    if config.kind == "signals":
        if described.masked:
            raise CheckpointError(
                f"{described.folder} has a text encoder whose embeddings have a mask, which a bridge of "
                "signals does not learn; use a pipeline without one, such as Stable Diffusion, or "
                "another kind of bridge."
            )
        parts["tokenizer"] = _loaded(described, "tokenizer")
        parts["text_encoder"] = _loaded(described, "text_encoder", dtype=dtype)
    takes = inspect.signature(described.kind.__init__).parameters
    needed = [n for n, p in takes.items() if p.default is p.empty and n != "self"]
    quiet = {"requires_safety_checker": False} if "requires_safety_checker" in takes else {}
    pipe = described.kind(**{name: parts.get(name) for name in needed}, **quiet)
    return Decoder(described, pipe, config, project)


def _weights(described: Described, component: str, dtype: torch.dtype) -> Any:
    """A component of diffusers, whole and finite."""
    folder: Path = described.folder / component
    model, said = _loaded(
        described, component, torch_dtype=dtype, output_loading_info=True, use_safetensors=True
    )
    for name in said["missing_keys"]:
        raise CheckpointError(f"{folder} lacks the tensor {name}; {AGAIN}.")
    for name, weight in model.named_parameters():
        require_finite(folder, name, weight, AGAIN)
    return model


def _loaded(described: Described, component: str, **how: Any) -> Any:
    folder = described.folder / component
    kind = class_of(described, component)
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **how)
    except Exception as error:  # whatever a damaged file leads diffusers or transformers to
        raise CheckpointError(f"{folder} cannot be read ({one_line(error)}); {AGAIN}.") from error
