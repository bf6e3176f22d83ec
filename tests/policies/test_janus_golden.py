"""Janus-Pro against the reference model's own tensors (tests/golden/janus_tiny)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.janus.module import JanusModule
from policies.janus.pictures import ImageTokenizer
from policies.llama import Layers, prefill
from policies.sampling import Row, sample
from tests.policies.janus import golden

CLOSE = {"rtol": 0.0, "atol": 1e-5}
BOS, PAD, BEGIN, IMAGE = 1, 0, 3, 5


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    return golden()[1]


@pytest.fixture(scope="module")
def net() -> object:
    return golden()[0]


@pytest.fixture(scope="module")
def module(net: object) -> JanusModule:
    return JanusModule(net).requires_grad_(False)


@pytest.fixture(scope="module")
def vision(net: object) -> ImageTokenizer:
    return ImageTokenizer(net.model.vqmodel)  # type: ignore[attr-defined]


def numbered(ids: Tensor, codes: Tensor | None, module: JanusModule) -> Tensor:
    """Their ids and codes in our one numbering: placeholders become features, in their order."""
    found = ids.clone()
    places = found == IMAGE
    found[places] = -1 - torch.arange(int(places.sum()))
    return found if codes is None else torch.cat([found, codes + module.words], 1)


def logits(
    module: JanusModule, ids: Tensor, first: int, pixels: Tensor | None, drawing: bool
) -> Tensor:
    """Of every place from `first` on: [rows, places, kinds]."""
    rows, tokens = ids.shape
    select = (torch.arange(rows)[:, None] * tokens + torch.arange(first, tokens)).flatten()
    return module(ids, pixels, select, drawing).unflatten(0, (rows, -1))


def test_features(module: JanusModule, io: dict[str, Tensor]) -> None:
    found = module.look(io["pixel_values"])
    assert torch.allclose(found, io["out_image_features"].flatten(0, 1), **CLOSE)


def test_understanding(module: JanusModule, io: dict[str, Tensor]) -> None:
    ids, labels = io["und_input_ids"], io["und_labels"]
    found = logits(module, numbered(ids, None, module), 0, io["pixel_values"], False)
    assert torch.allclose(found, io["out_und_logits"], **CLOSE)
    ce = F.cross_entropy(found[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert torch.allclose(ce, io["out_und_ce"], **CLOSE)


def test_codes_are_those_of_the_normalised_lookup(
    vision: ImageTokenizer, io: dict[str, Tensor]
) -> None:
    assert torch.equal(vision.encode(io["vq_pixels"]), io["out_vq_tokens"])
    seen = vision.vq.decode(io["out_vq_tokens"])
    assert torch.allclose(seen, io["out_vq_decode"], **CLOSE)


@pytest.mark.parametrize("kind", ["t2i", "refl"])
def test_drawing(module: JanusModule, io: dict[str, Tensor], kind: str) -> None:
    ids, codes = io[f"{kind}_input_ids"], io["out_vq_tokens"]
    pixels = io["pixel_values"] if kind == "refl" else None
    whole = numbered(ids, codes, module)
    found = logits(module, whole, ids.shape[1] - 1, pixels, True)[:, :-1]
    assert torch.allclose(found, io[f"out_{kind}_logits"], **CLOSE)
    ce = F.cross_entropy(found.flatten(0, 1), codes.flatten())
    assert torch.allclose(ce, io[f"out_{kind}_ce"], **CLOSE)


def test_guided_greedy_drawing(
    module: JanusModule, vision: ImageTokenizer, io: dict[str, Tensor]
) -> None:
    rows = []
    for ids in io["t2i_input_ids"].tolist():
        free = (ids[0], *[PAD] * (len(ids) - 2), ids[-1])
        rows.append(Row(tuple(ids), 0.0, 5.0, seed=0, max_tokens=16, free=free))

    def read(*of: object) -> object:
        embed = partial(module.embed, features=None)
        llama = module.model.language_model
        return prefill(Layers(llama), llama, embed, module.embed_codes, *of)  # type: ignore[arg-type]

    sampled = sample(read, module.draw_head, rows, module.words, keep_logits=True)  # type: ignore[arg-type]
    codes = torch.from_numpy(np.stack(sampled.tokens)) - module.words
    assert torch.equal(codes, io["out_gen_tokens"])
    # Guidance 5 multiplies the rounding of both logits, by up to nine: on a processor with AVX-512
    # transformers' own classes are 1.2e-5 away from the reference here.
    guided = torch.from_numpy(np.stack(sampled.logits))
    assert torch.allclose(guided, io["out_gen_cfg_logits"], rtol=0.0, atol=2e-5)
    assert torch.allclose(vision.vq.decode(codes), io["out_gen_pixels"], **CLOSE)
