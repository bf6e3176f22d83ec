"""Emu3 against the released code's own tensors, read through the map of names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import Emu3Config, Emu3ForConditionalGeneration, Emu3TextConfig, Emu3VQVAEConfig

from policies.emu3 import original
from policies.emu3.module import Emu3Module
from policies.emu3.pictures import ImageTokenizer
from policies.stored_tensors import Source, Stored, assembled, check
from tests.policies.emu3 import golden, small

CLOSE = {"rtol": 0.0, "atol": 1e-5}
PICTURES = "model.vqmodel."


@pytest.fixture(scope="module")
def net() -> Any:
    """transformers' net with the weights of the released one."""
    text = golden.described()["text"]["config"]
    config = Emu3Config(
        text_config=Emu3TextConfig(**text),
        vq_config=Emu3VQVAEConfig(**small.VQ),
        vocabulary_map={},
    )
    made = Emu3ForConditionalGeneration(config).eval()
    blank, state = made.state_dict(), {}
    for part, sources in mapped(blank).items():
        held = {name: (Path(part), tensor) for name, tensor in golden.weights(part).items()}
        stored = Stored(Path(part), held)
        check(stored, sources, None)
        state |= assembled(stored, sources, blank, torch.float32)
    made.load_state_dict(state)
    return made


def mapped(blank: dict[str, torch.Tensor]) -> dict[str, dict[str, Source]]:
    found: dict[str, dict[str, Source]] = {"text": {}, "vision": {}}
    for name, tensor in blank.items():
        seeing = name.startswith(PICTURES)
        source = original.picture_source if seeing else original.text_source
        made = source(name, tuple(tensor.shape))
        counts = not tensor.is_floating_point()
        whole = Source(made.name, made.shape, count=counts)
        found["vision" if seeing else "text"][name] = whole
    return found


def test_the_map_of_names_is_exact_both_ways(net: Any) -> None:
    for part, sources in mapped(net.state_dict()).items():
        own = golden.described()[part]["tensors"]
        assert {s.name: list(s.shape) for s in sources.values()} == own
        assert len(sources) == len(own) and len(own) > 15


def test_the_released_names_that_the_small_folder_has_are_the_released_ones(net: Any) -> None:
    own = golden.described()["vision"]["tensors"]
    names = [name.removeprefix(PICTURES) for name in net.state_dict() if name.startswith(PICTURES)]
    assert {small.released_name(name) for name in names} == own.keys()


def test_codes_and_pictures_are_those_of_the_released_tokenizer(net: Any) -> None:
    io, vision = golden.tensors(), ImageTokenizer(net.model.vqmodel, 32 * 48)
    codes = vision.encode(io["in_pixels"])
    assert torch.equal(codes, io["out_codes"].long()) and codes.unique().numel() > 8
    assert torch.allclose(vision.paint(codes), io["out_painted"], **CLOSE)


def test_logits_and_losses_are_those_of_the_released_model(net: Any) -> None:
    io, module = golden.tensors(), Emu3Module(net)
    with torch.no_grad():
        logits = module(io["in_ids"], torch.arange(40)).unflatten(0, (2, 20))
    assert torch.allclose(logits, io["out_logits"], **CLOSE)
    ce = F.cross_entropy(logits[:, :-1].flatten(0, 1), io["in_ids"][:, 1:].flatten())
    assert torch.allclose(ce, io["out_ce"], **CLOSE)


def test_one_frame_is_worked_out_as_all_of_them(net: Any) -> None:
    """transformers encodes and decodes the frames that a picture stands for, all of them."""
    io, vision, vq = golden.tensors(), ImageTokenizer(net.model.vqmodel, 32 * 48), net.model.vqmodel
    with torch.no_grad():
        theirs = vq.encode(io["in_pixels"], torch.tensor([[32, 48]] * 2)).image_tokens
        painted = vq.decode(torch.stack(theirs))
    codes = vision.encode(io["in_pixels"])
    assert torch.equal(codes, torch.stack(theirs))
    assert torch.allclose(vision.paint(codes), painted, **CLOSE)
