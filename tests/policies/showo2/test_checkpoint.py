"""The folder of a Show-o2, in and out, and what is wrong with one told in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import Picture, PictureSampling, PromptError, TextSampling, Unsupported
from policies.showo2.checkpoint import AUTOENCODER, EMBEDDED, MARKS, MODEL, WRITTEN, load, save
from policies.showo2.policy import Showo2Policy
from policies.showo2.released import LANGUAGE, WHOLE
from tests.policies.damage import TOKENIZER, Damage, cut, lose, refused, unmark, write
from tests.policies.showo2.small import (
    CONFIG,
    SIZE,
    loaded,
    picture,
    write_folder,
    write_transfusion,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "showo2", 0)
    return tmp_path / "showo2"


def _say(name: str, **fields: object) -> Damage:
    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text()) | fields
        (folder / name).write_text(json.dumps(said))

    return change


def _held(name: str, **changed: torch.Tensor | None) -> Damage:
    """Tensors by name (a __ is a dot); None takes one away."""

    def change(folder: Path) -> None:
        held = torch.load(folder / name, weights_only=True)
        for place, tensor in changed.items():
            key = place.replace("__", ".")
            if tensor is None:
                held = {n: t for n, t in held.items() if not n.startswith(key)}
            else:
                held[key] = tensor
        torch.save(held, folder / name)

    return change


NORM = "showo.model.norm.weight"
NAN = torch.full((48,), float("nan"))
REFUSED: dict[str, tuple[Damage, str]] = {
    **{f"no {name}": (lose(name), f"{name} is missing") for name in (LANGUAGE, WHOLE, TOKENIZER)},
    "no weights": (lose(MODEL), f"has no weights: none of {MODEL}"),
    "no autoencoder": (lose(AUTOENCODER), f"has no weights: none of {AUTOENCODER}"),
    "no head": (_held(MODEL, diffusion_head_a=None), "has num_diffusion_layers=1, but"),
    "no velocities": (_held(MODEL, diffusion_head_b=None), "has no tensor diffusion_head_b.linear.weight"),
    "no norms": (_held(MODEL, diffusion_head_a__0__self_attn__q_norm=None), "q_norm.weight of 1 sides"),
    "no eyes": (_held(MODEL, position_embedding=None), "has no tensor position_embedding.weight"),
    "half an eye": (_held(MODEL, und_trans__layers__0__mlp__fc2__bias=None), "lacks tensor und_trans"),
    "no places in a square": (_held(MODEL, position_embedding__weight=torch.ones(3, 16)),
                              "which is no square"),
    "bad config": (write(WHOLE, b"{"), f"{WHOLE} cannot be read (Expecting"),
    "no time": (_say(WHOLE, add_time_embeds=False), "add_time_embeds=False, but Show-o2 has True"),
    "other latents": (_say(WHOLE, image_latent_dim=4), "image_latent_dim=4, but Show-o2 has 16"),
    "a wide drawing": (_say(WHOLE, image_latent_width=3), "image_latent_width=3, but drawings are squares"),
    "other width": (_say(WHOLE, hidden_size=64), f"but {LANGUAGE} has hidden_size=48"),
    "other heads": (_say(WHOLE, unicorn_ray={"semantic_heads": 3}), "it must divide the width 16"),
    "another model": (_say(LANGUAGE, model_type="llama"), "model_type='llama', but Show-o2 has 'qwen2'"),
    "more layers": (_say(LANGUAGE, num_hidden_layers=64), "lacks tensor showo.model.layers"),
    "wide layers": (_say(LANGUAGE, intermediate_size=2**19), "asks for (524288, 48)"),
    "not tied": (_held(MODEL, showo__lm_head__weight=torch.ones(264, 48)), "of different values, but"),
    "small vocabulary": (_held(MODEL, showo__model__embed_tokens__weight=torch.ones(99, 48)),
                         "has a token 259, but"),
    "bad tokenizer": (write(TOKENIZER, b"{}"), f"{TOKENIZER} is not a tokenizer"),
    **{f"no {mark}": (unmark(mark), f"has no token {mark}") for mark in MARKS.values()},
    "cut weights": (cut(MODEL, -100), f"{MODEL} is truncated or damaged"),
    "cut autoencoder": (cut(AUTOENCODER, 100), f"{AUTOENCODER} is truncated or damaged"),
    "another autoencoder": (_held(AUTOENCODER, encoder__downsamples=None),
                            "has 0 parts in encoder.downsamples"),
    "NaN": (_held(MODEL, showo__model__norm__weight=NAN), f"has {NORM} with NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_cannot_be_is_refused_by_name(name: str, folder: Path) -> None:
    damage, message = REFUSED[name]
    damage(folder)
    refused(load, folder, message)


def test_both_names_of_a_tied_table_are_written_and_one_is_enough(folder: Path) -> None:
    held = torch.load(folder / MODEL, weights_only=True)
    assert torch.equal(held[EMBEDDED], held[WRITTEN])
    whole = load(folder).module
    assert whole.showo.lm_head.weight is whole.showo.model.embed_tokens.weight
    _held(MODEL, showo__lm_head=None)(folder)
    again = load(folder).module
    assert torch.equal(again.showo.lm_head.weight, whole.showo.lm_head.weight)


def test_all_tensors_are_kept_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    """Those of time, which a single frame does not need, too; weights of half precision are read."""
    save(tmp_path / "again", load(folder))
    for name in (MODEL, AUTOENCODER):
        held, again = (
            torch.load(f / name, weights_only=True) for f in (folder, tmp_path / "again")
        )
        assert held.keys() == again.keys()
        assert all(torch.equal(held[key], again[key]) for key in held)
    assert any("time_conv" in key for key in again)
    half = {key: tensor.bfloat16() for key, tensor in torch.load(folder / MODEL).items()}
    torch.save(half, folder / MODEL)
    read = load(folder).module.state_dict()
    assert all(torch.equal(read[key], tensor.float()) for key, tensor in half.items())


def test_a_folder_in_pieces_is_read(folder: Path) -> None:
    held = torch.load(folder / MODEL, weights_only=True)
    names = sorted(held)
    pieces = {
        "pytorch_model-00001-of-00002.bin": names[::2],
        "pytorch_model-00002-of-00002.bin": names[1::2],
    }
    for file, own in pieces.items():
        torch.save({name: held[name] for name in own}, folder / file)
    index = {"weight_map": {name: file for file, own in pieces.items() for name in own}}
    (folder / "diffusion_pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / MODEL).unlink()
    read = load(folder).module.state_dict()
    assert all(torch.equal(read[name], held[name]) for name in names)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Showo2Policy:
    folder = tmp_path_factory.mktemp("showo2")
    write_folder(folder, 0)
    return Showo2Policy.from_pretrained(folder)


def test_a_context_over_the_limit_is_refused(policy: Showo2Policy) -> None:
    with pytest.raises(PromptError, match="512"):
        policy.write([("x" * 500,)], [TextSampling(max_tokens=4)], [0])
    with pytest.raises(PromptError, match="512"):
        policy.draw([("x" * 509,)], [PictureSampling(steps=1)], [0])


def test_an_extreme_picture_is_seen_and_a_broken_one_is_refused(policy: Showo2Policy) -> None:
    for shape in ((SIZE, SIZE * 400, 3), (1, 1, 3), (900, 1, 3), (1000, 1500, 3)):
        pixels = np.zeros(shape, np.uint8)
        assert len(policy.write([(Picture(pixels), "x")], [TextSampling(max_tokens=2)], [0])) == 1
    odd = picture(0)
    assert odd.latents is not None
    with pytest.raises(ValueError, match="latents"):
        bad = Picture(odd.pixels, None, odd.latents[:, :2])
        policy.draw([(bad, "x")], [PictureSampling(steps=1)], [0])


def test_a_picture_is_cut_to_the_middle_of_its_own_size(policy: Showo2Policy) -> None:
    """As a drawing of that size, which is not touched, is encoded."""
    pixels = picture(5).pixels
    wide = np.concatenate([pixels[:, :6] * 0, pixels, pixels[:, :6] * 0 + 255], 1)
    one, other = (policy.layout.latents(Picture(each))[0] for each in (pixels, wide))
    assert torch.equal(one, other) and one.shape == (4, CONFIG.latent_values)


def test_what_has_no_layout_is_refused_by_name(policy: Showo2Policy) -> None:
    with pytest.raises(Unsupported, match="family showo2 draws by a flow, which gives none"):
        policy.log_probs([("x",)], [picture(0)])


def test_a_transfusion_and_a_showo2_are_no_one_another(tmp_path: Path, folder: Path) -> None:
    write_transfusion(tmp_path / "other", 0)
    (folder / WHOLE).write_bytes((tmp_path / "other" / WHOLE).read_bytes())
    refused(load, folder, "has num_diffusion_layers=0, but")
    _say(WHOLE, num_diffusion_layers=1)(folder)
    refused(load, folder, "has an unknown tensor fusion_proj")


def test_loaded_it_is_what_was_made(folder: Path) -> None:
    made, found = loaded(0), load(folder)
    assert found.module.config == made.module.config == CONFIG
    assert found.form == made.form and found.files == made.files
