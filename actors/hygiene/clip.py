"""How well a drawing fits its prompt, and how good it looks, in the space of a CLIP.

Invariant: a checkpoint is read from the disk alone, and every number follows from its weights, the
drawings and the prompts of one task, which are passed forward in the same portions every time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from policies.config import ConfigError
from policies.interface import Picture

AT_ONCE = 32
CPU = torch.device("cpu")
Head = tuple[torch.Tensor, torch.Tensor]
"""The weight, [1, features], and the bias, [1], of a linear map."""


class Clip:
    """The CLIP in `folder`, and a `head` on its pictures unless that is empty."""

    def __init__(self, folder: str, head: str, device: str) -> None:
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        self._device = torch.device(device)
        model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self._model = model.eval().requires_grad_(False).to(self._device)
        self._pixels: Any = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self._tokens: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        self._longest = self._model.config.text_config.max_position_embeddings
        self._head = load_head(head, self._model.config.projection_dim) if head else None

    def measured(
        self, prompts: Sequence[str], pictures: Sequence[Picture]
    ) -> Mapping[str, list[float]]:
        """ "clip", the cosine of each drawing and its prompt, and with a head "aesthetic", its score. A
        prompt that is too long for CLIP is cut off."""
        found: dict[str, list[float]] = {"clip": []}
        for at in range(0, len(pictures), AT_ONCE):
            image, text = self.embedded(prompts[at : at + AT_ONCE], pictures[at : at + AT_ONCE])
            found["clip"] += (image * text).sum(dim=-1).tolist()
            if self._head:
                weight, bias = self._head
                scores = torch.nn.functional.linear(image.double(), weight, bias)[:, 0]
                found.setdefault("aesthetic", []).extend(scores.tolist())
        return found

    def embedded(
        self, prompts: Sequence[str], pictures: Sequence[Picture]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The pictures and the prompts, [pictures, features] and [prompts, features], each of length 1."""
        read = self._tokens(
            list(prompts), padding=True, truncation=True, max_length=self._longest,
            return_tensors="pt",
        )  # fmt: skip
        seen = self._pixels(images=[p.pixels for p in pictures], return_tensors="pt")
        with torch.inference_mode():
            out = self._model(**read.to(self._device), **seen.to(self._device))
        return out.image_embeds.to(CPU), out.text_embeds.to(CPU)


def load_head(file: str, features: int) -> Head:
    """One linear map for a file of linear layers, nothing between them: `weight` and `bias`, or
    NAME.N.weight and NAME.N.bias in the order of N. Raises ConfigError."""
    where = f"judge.hygiene.aesthetic is {file!r}"
    try:
        held = _tensors(Path(file))
        layers = [
            (held[name].double(), held[name.removesuffix("weight") + "bias"].double())
            for name in sorted((n for n in held if n.endswith("weight")), key=_number)
        ]
    except Exception as error:  # foreign bytes can raise almost anything
        raise ConfigError(
            f"{where}, which is no file of linear layers ({type(error).__name__}: {error}): name one "
            "of .pth, .pt or .safetensors with weights and biases"
        ) from error
    sizes = [features, *(len(weight) for weight, _ in layers)]
    fits = all(
        weight.shape == (size, before) and bias.shape == (size,)
        for (weight, bias), (before, size) in zip(layers, pairwise(sizes), strict=True)
    )
    if not layers or not fits or sizes[-1] != 1:
        shapes = ", ".join(str(tuple(weight.shape)) for weight, _ in layers) or "none"
        raise ConfigError(
            f"{where}, whose weights are {shapes}: they must lead from the {features} numbers of "
            "judge.hygiene.clip's pictures to one; name the head that was made for that CLIP"
        )
    return reduce(lambda first, then: (then[0] @ first[0], then[0] @ first[1] + then[1]), layers)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    held: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return held


def _number(name: str) -> int:
    return int("".join(re.findall(r"\d+", name)) or 0)
