"""What is wrong with the folder of a BAGEL, or too large for it, is told in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bagel.checkpoint import AUTOENCODER, DRAWING, MODEL, SEEING, load
from policies.bagel.policy import BagelPolicy
from policies.bagel.released import LANGUAGE, VISION, WHOLE
from policies.interface import (
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
)
from tests.policies import janus
from tests.policies.bagel.small import MARKS, SIZE, picture, write_folder
from tests.policies.damage import (
    TOKENIZER,
    Damage,
    cut,
    lose,
    refused,
    tensors,
    unmark,
    write,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "bagel", 0)
    return tmp_path / "bagel"


def _say(name: str, **fields: object) -> Damage:
    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text()) | fields
        (folder / name).write_text(json.dumps(said))

    return change


def _without(*beginnings: str) -> Damage:
    def change(held: dict[str, torch.Tensor]) -> None:
        for name in [each for each in held if each.startswith(beginnings)]:
            del held[name]

    return tensors(MODEL, change)


def _pipe(folder: Path) -> None:
    (folder / MODEL).unlink()
    os.mkfifo(folder / MODEL)


NORM = "language_model.model.norm.weight"
GEN = "language_model.model.layers.0.mlp_moe_gen.down_proj.weight"
SHUT = "encoder.conv_in.weight"
REFUSED: dict[str, tuple[Damage, str]] = {
    **{f"no {name}": (lose(name), f"{name} is missing") for name in (LANGUAGE, VISION, WHOLE, TOKENIZER)},
    "no weights": (lose(MODEL), f"has no weights: none of {MODEL}"),
    "no autoencoder": (lose(AUTOENCODER), f"has no weights: none of {AUTOENCODER}"),
    "a pipe for weights": (_pipe, f"{MODEL} is no file"),
    **{f"no tensors {each}*": (_without(each), f"has no tensor {each}*, so this BAGEL cannot see")
       for each in SEEING},
    **{f"no tensors {each}*": (_without(each), f"has no tensor {each}*, so this BAGEL cannot draw")
       for each in DRAWING},
    "one expert": (_without(*(f"language_model.model.layers.{i}.mlp_moe_gen" for i in (0, 1))),
                   f"lacks tensor {GEN}"),
    "bad config": (write(WHOLE, b"{"), f"{WHOLE} cannot be read (Expecting"),
    "deep config": (write(LANGUAGE, b"[" * 100_000), f"{LANGUAGE} cannot be read (maximum recursion"),
    "other experts": (_say(LANGUAGE, layer_module="Qwen2MoEDecoderLayer"), "layer_module='Qwen2MoEDecoderLayer'"),
    "it draws nothing": (_say(WHOLE, visual_gen=False), "visual_gen=False"),
    "more layers": (_say(LANGUAGE, num_hidden_layers=64), "lacks tensor language_model.model.layers"),
    "wide layers": (_say(LANGUAGE, intermediate_size=2**19), "asks for (524288, 48)"),
    "small vocabulary": (_say(LANGUAGE, vocab_size=100), "has a token 259, but"),
    "odd sides": (_say(WHOLE, unicorn_ray={"drawing": [8, 32]}), "the longest and the shortest side"),
    "bad tokenizer": (write(TOKENIZER, b"{}"), f"{TOKENIZER} is not a tokenizer"),
    **{f"no {mark}": (unmark(mark), f"has no token {mark}") for mark in MARKS.values()},
    "long header": (write(MODEL, (10**18).to_bytes(8, "little") + b"{}"), "truncated or damaged"),
    "cut weights": (cut(MODEL, -100), f"{MODEL} is truncated or damaged"),
    "empty weights": (cut(MODEL, 0), f"{MODEL} is truncated or damaged"),
    "cut autoencoder": (cut(AUTOENCODER, -100), f"{AUTOENCODER} is truncated or damaged"),
    "extra": (tensors(MODEL, lambda t: t.update({"a\nb": torch.ones(3)})), r"an unknown tensor 'a\nb';"),
    "shape": (tensors(MODEL, lambda t: t.update({NORM: torch.ones(3)})), f"has {NORM} of shape (3,)"),
    "dtype": (tensors(MODEL, lambda t: t.update({NORM: torch.ones(48).double()})), "dtype torch.float64"),
    "NaN": (tensors(MODEL, lambda t: t[NORM].__setitem__(3, float("nan"))), f"has {NORM} with NaN"),
    "NaN in latents": (tensors(AUTOENCODER, lambda t: t[SHUT].__setitem__(3, float("nan"))),
                       f"has {SHUT} with NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_cannot_be_is_refused_by_name(name: str, folder: Path) -> None:
    damage, message = REFUSED[name]
    damage(folder)
    refused(load, folder, message)


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    refused(load, janus.tiny_folder(tmp_path / "janus"), f"{LANGUAGE} is missing")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> BagelPolicy:
    folder = tmp_path_factory.mktemp("bagel")
    write_folder(folder, 0)
    return BagelPolicy.from_pretrained(folder)


def test_a_context_over_the_limit_is_refused(policy: BagelPolicy) -> None:
    with pytest.raises(PromptError, match="512"):
        policy.write([("x" * 600,)], [TextSampling(max_tokens=4)], [0])
    with pytest.raises(PromptError, match="512"):
        policy.draw([("x" * 500,)], [PictureSampling(steps=1)], [0])


def test_an_extreme_picture_is_seen_and_a_broken_one_is_refused(policy: BagelPolicy) -> None:
    for shape in ((SIZE, SIZE * 40, 3), (1, 1, 3), (2000, 2000, 3)):
        pixels = np.zeros(shape, np.uint8)
        assert len(policy.write([(Picture(pixels), "x")], [TextSampling(max_tokens=2)], [0])) == 1
    for pixels in (np.zeros((0, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)):
        with pytest.raises(ValueError, match="pixels"):
            policy.write([(Picture(pixels), "x")], [TextSampling(max_tokens=2)], [0])
    odd = picture(0)
    assert odd.latents is not None
    with pytest.raises(ValueError, match="latents"):
        policy.draw(
            [(Picture(odd.pixels, None, odd.latents[:, :1]), "x")], [PictureSampling(steps=1)], [0]
        )
