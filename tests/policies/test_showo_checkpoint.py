"""The public folder of a Show-o is read as it was published, saved again, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from policies.config import ConfigError, ShowoPolicyConfig
from policies.interface import CheckpointError, PictureSampling
from policies.registry import footprint
from policies.showo.checkpoint import CONFIG, MODEL, load
from policies.showo.policy import ShowoPolicy
from policies.showo.released import read_sizes
from policies.small_files import ConfigFile
from tests.policies import damage
from tests.policies.damage import Damage
from tests.policies.showo import CONFIG as SIZES
from tests.policies.showo import small_files, write_folder

PHI, MAGVIT = "llm_config.json", "magvitv2.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "showo")


def as_published(folder: Path) -> None:
    """The names and the format of the files on the hub."""
    for name in (MODEL, MAGVIT):
        torch.save(load_file(folder / name), (folder / name).with_suffix(".bin"))
        (folder / name).unlink()


def test_a_folder_as_it_was_published_is_read_and_saved_to_the_bit(
    folder: Path, tmp_path: Path
) -> None:
    before = {name: load_file(folder / name) for name in (MODEL, MAGVIT)}
    as_published(folder)
    policy = ShowoPolicy.from_pretrained(folder)
    policy.save_pretrained(tmp_path / "again")
    assert all(file.is_file() for file in (tmp_path / "again").iterdir())
    for file, tensors in before.items():
        saved = load_file(tmp_path / "again" / file)
        assert saved.keys() == tensors.keys()
        assert all(torch.equal(saved[name], tensor) for name, tensor in tensors.items())
    for name in (CONFIG, PHI, "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    one, other = (
        each.sample_codes([("cat",)], [PictureSampling()], [0])
        for each in (policy, ShowoPolicy.from_pretrained(tmp_path / "again"))
    )
    assert torch.equal(one, other)


def test_saving_takes_the_place_of_another_checkpoint(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", seed=1)
    as_published(other)
    (other / "model-00001-of-00002.safetensors").write_bytes(b"")
    ShowoPolicy.from_pretrained(folder).save_pretrained(other)
    kept = {file.name for kind in ("*.bin", "*.safetensors") for file in other.glob(kind)}
    assert kept == {MODEL, MAGVIT}
    wanted = ShowoPolicy.from_pretrained(folder).weights()
    for name, array in ShowoPolicy.from_pretrained(other).weights().items():
        np.testing.assert_array_equal(array, wanted[name])


def test_half_precision_is_read_into_what_is_asked_for(folder: Path) -> None:
    whole = load_file(folder / MODEL)
    damage.tensors(MODEL, lambda held: held.update({n: t.half() for n, t in held.items()}))(folder)
    loaded = load(folder)
    for name, weight in loaded.module.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, whole[name].half().float())
    short = ShowoPolicy.from_pretrained(folder, "bfloat16")
    assert all(w.dtype == torch.bfloat16 for w in short.module.parameters())
    assert short.vision.magvit.dtype == torch.float32


def change(name: str, **fields: object) -> Damage:
    def apply(folder: Path) -> None:
        described = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**described, **fields}))

    return apply


def cut_tensor(held: dict[str, torch.Tensor]) -> None:
    held["showo.lm_head.bias"] = held["showo.lm_head.bias"][:-1].clone()


def poison(held: dict[str, torch.Tensor]) -> None:
    held["showo.lm_head.bias"][3] = torch.nan


REFUSED: dict[str, tuple[Damage, str]] = {
    "no config": (damage.lose(CONFIG), f"{CONFIG} is missing, which every Show-o has"),
    "no language": (damage.lose(PHI), "llm_config.json is missing, which every Show-o has"),
    "no tokenizer": (damage.lose("tokenizer.json"), "tokenizer.json is missing, which every"),
    "no weights": (damage.lose(MODEL), "has no weights: none of pytorch_model.safetensors"),
    "no pictures": (damage.lose(MAGVIT), "has no weights: none of magvitv2.safetensors"),
    "no JSON": (damage.write(CONFIG, b"{"), f"{CONFIG} cannot be read"),
    "a list": (damage.write(PHI, b"[]"), "holds no JSON object"),
    "cut": (damage.cut(MODEL, 1000), "is truncated or damaged"),
    "with CLIP": (change(CONFIG, w_clip_vit=True), "w_clip_vit=True, but Show-o has False"),
    "not square": (change(CONFIG, num_vq_tokens=15), "num_vq_tokens=15, but a drawing is as high"),
    "no tokens": (change(CONFIG, num_vq_tokens=None), "num_vq_tokens=None, but it must be a whole"),
    "other codes": (change(CONFIG, codebook_size=128), "magvitv2 has codes of 6 bits, which makes"),
    "other words": (change(CONFIG, vocab_size=333), "vocab_size=333, but it counts words, marks"),
    "other mask": (change(CONFIG, mask_token_id=0), "mask_token_id=0, but the mask is the last"),
    "a word more": (
        change(CONFIG, llm_vocab_size=260, vocab_size=None, mask_token_id=None),
        "vocab_size=None",
    ),
    "other layers": (change(PHI, num_hidden_layers=3), "lacks tensor showo.model"),
    "other heads": (change(PHI, num_attention_heads=5), "a multiple of 5 heads"),
    "other act": (change(PHI, hidden_act="silu"), "hidden_act='silu', but Show-o"),
    "other model": (change(PHI, model_type="llama"), "model_type='llama', but"),
    "longer rope": (
        change(PHI, rope_parameters={"rope_type": "yarn"}),
        "only those of the type default are read",
    ),
    "half a pair": (
        change(PHI, partial_rotary_factor=0.25), "turns 3 of a head, and not pairs"
    ),
    "no end": (damage.unmark("<|endoftext|>"), "has no token <|endoftext|>, which Show-o needs"),
    "a short tensor": (damage.tensors(MODEL, cut_tensor), "has showo.lm_head.bias of shape (333,)"),
    "no number": (damage.tensors(MODEL, poison), "has showo.lm_head.bias with NaN"),
    "a projector": (
        damage.tensors(MODEL, lambda held: held.update({"mm_projector.0.bias": torch.zeros(1)})),
        "has an unknown tensor mm_projector.0.bias",
    ),
    "fewer levels": (
        damage.tensors(
            MAGVIT,
            lambda held: [held.pop(n) for n in list(held) if n.startswith("decoder.up.3.")],
        ),
        "4 levels that encode, 3 that decode",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_folder_is_refused_by_name(folder: Path, kind: str) -> None:
    do, message = REFUSED[kind]
    do(folder)
    damage.refused(load, folder, message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FILES = {name: json.loads(small_files(SIZES)[name]) for name in (CONFIG, PHI)}


@given(data=st.data(), file=st.sampled_from(sorted(FILES)))
def test_sizes_of_any_fields_can_be_built_or_are_refused(data: st.DataObject, file: str) -> None:
    named = st.sampled_from([*FILES[file], "rope_parameters", "num_new_special_tokens"])
    changed = FILES | {file: FILES[file] | data.draw(st.dictionaries(named, JSON, max_size=2))}
    showo, phi = (ConfigFile(Path(name), changed[name]) for name in FILES)
    try:
        read = read_sizes(showo, phi, SIZES.magvit)
    except CheckpointError as error:
        assert file in str(error) and "\n" not in str(error)
        return
    assert (read.vocabulary, read.tokens) == (read.words + 10 + 64 + 1, read.side**2)
    built = read.phi.phi_config(read.vocabulary)
    assert built.hidden_size == read.phi.heads * read.phi.head_dim


def test_a_footprint_is_told_from_a_folder_or_a_public_name(folder: Path) -> None:
    own = footprint(ShowoPolicyConfig(path=str(folder)))
    loaded = load(folder)
    counts = [sum(w.numel() for w in m.parameters()) for m in (loaded.module, loaded.magvit)]
    assert (own.parameters, own.trained, own.drawing) == (sum(counts), counts[0], SIZES.tokens)
    with pytest.raises(ConfigError, match="its name is none of show-o, show-o-512x512; give the"):
        footprint(ShowoPolicyConfig(path="nowhere/show-o2"))
