"""A folder of a Chameleon is read whole or refused in one sentence; one without a decoder at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies import saving
from policies.chameleon.checkpoint import DECODER, VQ, load, save
from policies.chameleon.policy import ChameleonPolicy
from policies.chameleon.tokens import REQUIRED
from policies.config import ChameleonPolicyConfig
from policies.interface import CheckpointError, PictureSampling
from policies.registry import footprint, load_policy
from tests.policies import damage
from tests.policies.chameleon.small import loaded, rewrite, write_folder
from tests.policies.damage import cut, lose, tensors, write

CONFIG, MODEL, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "chameleon", 0)
    return tmp_path / "chameleon"


@pytest.fixture
def mute(folder: Path) -> Path:
    """As facebook/chameleon-7b: it has no image decoder."""

    def forget(held: dict[str, torch.Tensor]) -> None:
        for name in [name for name in held if name.startswith(DECODER)]:
            del held[name]

    tensors(MODEL, forget)(folder)
    return folder


def vqgan(seed: int = 0) -> dict[str, torch.Tensor]:
    """The image tokenizer as it was published alone."""
    made = loaded(seed)
    return {
        **made.vq.state_dict(),
        **{f"decoder.{name}": tensor for name, tensor in made.decoder.state_dict().items()},
    }


def standalone(folder: Path, seed: int = 0) -> Path:
    """As leloy/Anole-7b-v0.1-vqvae-hf."""
    folder.mkdir()
    save_file(vqgan(seed), folder / MODEL)
    return folder


def test_a_model_without_a_decoder_is_refused_before_any_work(mute: Path) -> None:
    config = ChameleonPolicyConfig(path=str(mute))
    for act in (load_policy, footprint):
        with pytest.raises(CheckpointError) as caught, torch.random.fork_rng():
            act(config)
        said = str(caught.value)
        assert "has no image decoder" in said and "cannot draw; name one in policy.decoder" in said
        assert str(mute / MODEL) in said and "\n" not in said


@pytest.mark.parametrize("kind", ["folder", "vqgan.ckpt", "rounded", "whole"])
def test_a_named_decoder_draws_what_the_models_own_would(
    mute: Path, tmp_path: Path, kind: str
) -> None:
    named = tmp_path / "vqvae"
    if kind == "vqgan.ckpt":
        named = tmp_path / kind
        torch.save({"epoch": 3, "state_dict": {**vqgan(), "loss.logvar": torch.ones(1)}}, named)
    elif kind == "whole":
        write_folder(named, 0)
    else:
        standalone(named)
    if kind == "rounded":  # the model's own tokenizer in bfloat16, as Anole's

        def half(held: dict[str, torch.Tensor]) -> None:
            held |= {n: t.bfloat16() for n, t in held.items() if n.startswith(VQ)}

        tensors(MODEL, half)(mute)
    config = ChameleonPolicyConfig(path=str(mute), decoder=str(named))
    policy = load_policy(config)
    assert footprint(config).parameters > footprint(config).trained
    for name, tensor in loaded(0).decoder.state_dict().items():
        assert torch.equal(policy.vision.decoder.state_dict()[name], tensor), name
    ((drawn,),) = policy.draw([("a cat",)], [PictureSampling()], [0])
    policy.save_pretrained(tmp_path / "saved")  # which has it from now on
    ((again,),) = ChameleonPolicy.from_pretrained(tmp_path / "saved").draw(
        [("a cat",)], [PictureSampling()], [0]
    )
    assert (drawn.segment.pixels == again.segment.pixels).all()
    policy.adapt(2, 2)
    assert policy.published(policy.weights()).keys() == loaded_names(mute, named)


def loaded_names(folder: Path, decoder: Path) -> Any:
    return ChameleonPolicy.from_pretrained(folder, decoder=str(decoder)).weights().keys()


def test_a_decoder_that_is_none_or_of_another_tokenizer_is_refused(
    mute: Path, tmp_path: Path
) -> None:
    other = standalone(tmp_path / "other", seed=5)
    empty = tmp_path / "empty"
    empty.mkdir()
    none = tmp_path / "none"
    none.mkdir()
    save_file({"a": torch.ones(1)}, none / MODEL)
    short = standalone(tmp_path / "short")
    tensors(MODEL, lambda held: held.pop("decoder.conv_in.weight"))(short)
    for path, said in (
        (other, "draws the codes of another image tokenizer"),
        (empty, "has no weights: none of"),
        (none, "which policy.decoder names, has no image decoder"),
        (short, "lacks tensor decoder.conv_in.weight"),
        (tmp_path / "nowhere", "has no weights: none of"),
    ):
        with pytest.raises(CheckpointError) as caught:
            load(mute, decoder=str(path))
        assert said in str(caught.value) and str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_saved_in_many_files_it_is_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(folder)
    monkeypatch.setattr(saving, "SHARD", "500KB")
    save(tmp_path / "parts", whole)
    assert (tmp_path / "parts" / "model.safetensors.index.json").exists()
    again = load(tmp_path / "parts")
    for one, other in (
        (whole.net, again.net),
        (whole.vq, again.vq),
        (whole.decoder, again.decoder),
    ):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name
    names = set(load_file(folder / MODEL))
    assert {f"{DECODER}up.2.upsample.conv.weight", f"{VQ}quantize.embedding.weight"} <= names


def test_the_config_of_older_transformers_and_of_anoles_own_classes_is_read(folder: Path) -> None:
    seen = json.loads((folder / CONFIG).read_text())["vq_config"]
    rewrite(
        folder, CONFIG, model_type="anole", rope_parameters=None, rope_theta=5000.0, rope_scaling=None,
        vq_config={**seen, "attn_resolutions": None, "out_channels": 3}, boi_token_id=69,
    )  # fmt: skip
    config: Any = load(folder).net.config
    assert config.model_type == "chameleon" and config.rope_parameters["rope_theta"] == 5000.0


def test_metas_own_scale_of_pixels_is_taken(folder: Path) -> None:
    rewrite(folder, "preprocessor_config.json", rescale_factor=2 / 255)
    assert load(folder).scale == 2 / 255


def changed(name: str, **fields: object) -> damage.Damage:
    return lambda folder: rewrite(folder, name, **fields)


def changed_vq(**fields: object) -> damage.Damage:
    def change(folder: Path) -> None:
        stated = json.loads((folder / CONFIG).read_text())["vq_config"]
        rewrite(folder, CONFIG, vq_config=stated | fields)

    return change


def renamed(name: str, id: int | None) -> damage.Damage:
    def change(folder: Path) -> None:
        words = json.loads((folder / CONFIG).read_text())["vocabulary_map"]
        words |= {name: id} if id is not None else {}
        words = words if id is not None else {n: i for n, i in words.items() if n != name}
        rewrite(folder, CONFIG, vocabulary_map=words)

    return change


PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
NAN = torch.full((2, 16), torch.nan)
REFUSED: list[tuple[str, Callable[[Path], object]]] = [
    ("config.json is missing", lose(CONFIG)),
    ("tokenizer.json is missing", lose(TOKENIZER)),
    ("has no weights: none of", lose(MODEL)),
    ("is truncated or damaged", cut(MODEL, 1000)),
    ("config.json is not JSON", write(CONFIG, b"{")),
    ("config.json holds 3, which is no object", write(CONFIG, b"3")),
    ("is of model_type 'llama'; a Chameleon", changed(CONFIG, model_type="llama")),
    ("has hidden_size='x', but it must be", changed(CONFIG, hidden_size="x")),
    ("has hidden_size=66, but each of 4", changed(CONFIG, hidden_size=66)),
    ("has num_key_value_heads=3, but 4 heads", changed(CONFIG, num_key_value_heads=3)),
    ("has hidden_act='gelu', but Chameleon has 'silu'", changed(CONFIG, hidden_act="gelu")),
    ("has swin_norm='no'", changed(CONFIG, swin_norm="no")),
    ("has vocab_size=100, but tokenizer.json has", changed(CONFIG, vocab_size=100)),
    ("has rope_parameters={'factor': 2", changed(CONFIG, rope_parameters={"rope_type": "default", "factor": 2})),
    ("has rms_norm_eps=True, but it must be", changed(CONFIG, rms_norm_eps=True)),
    ("has no section vq_config", changed(CONFIG, vq_config=3)),
    ("has no vocabulary_map", changed(CONFIG, vocabulary_map=None)),
    ("has 63 image tokens in its vocabulary_map", renamed("IMGIMGDZ", None)),
    ("has 65 image tokens in its vocabulary_map", renamed("IMGIMGJJZ", 9)),
    ("has 9 for IMGIMGDZ in its vocabulary_map", renamed("IMGIMGDZ", 9)),
    ("has 9 for <image> in its vocabulary_map", renamed("<image>", 9)),
    ("has vq_config.resolution=36, but", changed_vq(resolution=36)),
    ("has vq_config.base_channels=40, but", changed_vq(base_channels=40)),
    ("has vq_config.channel_multiplier=[], but", changed_vq(channel_multiplier=[])),
    ("has vq_config.attn_resolutions=[0], but", changed_vq(attn_resolutions=[0])),
    ("has vq_config.double_latent=True, but", changed_vq(double_latent=True)),
    ("has vq_config.num_embeddings=0, but", changed_vq(num_embeddings=0)),
    ("config.json asks for (64, 16)", changed_vq(embed_dim=16)),
    ("is not a tokenizer", write(TOKENIZER, b"{}")),
    ("has resample=3, but this model's pictures", changed(PREPROCESSOR, resample=3)),
    ("has rescale_factor=0.0039", changed(PREPROCESSOR, rescale_factor=0.0039)),
    ("has do_center_crop=False", changed(PREPROCESSOR, do_center_crop=False)),
    ("has size={'shortest_edge': 8}", changed(PREPROCESSOR, size={"shortest_edge": 8})),
    ("preprocessor_config.json is not JSON", write(PREPROCESSOR, b"[")),
    ("has image_seq_length=9, but config.json has 16", changed(PROCESSOR, image_seq_length=9)),
    ("has image_processor=3, which is no object", changed(PROCESSOR, image_processor=3)),
    ("lacks tensor lm_head.weight", tensors(MODEL, lambda held: held.pop("lm_head.weight"))),
    (f"lacks tensor {DECODER}conv_in.bias", tensors(MODEL, lambda held: held.pop(f"{DECODER}conv_in.bias"))),
    ("has an unknown tensor model.more", tensors(MODEL, lambda held: held.update({"model.more": NAN}))),
    (
        "with NaN or infinite values",
        tensors(MODEL, lambda h: h.update({"model.layers.0.self_attn.k_norm.bias": NAN})),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("said", "harm"), REFUSED, ids=[said for said, _ in REFUSED])
def test_damage_is_refused_in_one_sentence(
    folder: Path, said: str, harm: Callable[[Path], object]
) -> None:
    harm(folder)
    damage.refused(load, folder, said)


@pytest.mark.parametrize("name", REQUIRED.values())
def test_every_mark_of_structure_is_needed(folder: Path, name: str) -> None:
    """It is in the vocabulary as well as among the added tokens."""
    described = json.loads((folder / TOKENIZER).read_text())
    described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] != name]
    described["model"]["vocab"].pop(name)
    described["post_processor"] = None
    (folder / TOKENIZER).write_text(json.dumps(described))
    damage.refused(load, folder, f"tokenizer.json has no token {name}, which Chameleon needs")


@pytest.mark.parametrize("mark", ["IMGIMGAZ", "<eoss>"])
def test_a_word_with_the_id_of_an_image_token_or_a_mark_is_refused(folder: Path, mark: str) -> None:
    described = json.loads((folder / TOKENIZER).read_text())
    vocabulary = described["model"]["vocab"]
    vocabulary["a"] = vocabulary[mark]
    (folder / TOKENIZER).write_text(json.dumps(described))
    damage.refused(load, folder, "gives 'a' the id of an image token or a mark")


def test_a_tokenizer_that_spells_an_image_token_is_refused(folder: Path) -> None:
    described = json.loads((folder / TOKENIZER).read_text())
    merges = [("I", "M"), ("IM", "G"), ("IMG", "IMG"), ("IMGIMG", "A"), ("IMGIMGA", "Z")]
    for i, (left, right) in enumerate(merges[:-1]):
        described["model"]["vocab"][left + right] = 340 + i
    described["model"]["merges"] = merges
    (folder / TOKENIZER).write_text(json.dumps(described))
    rewrite(folder, CONFIG, vocab_size=400)
    damage.refused(load, folder, "takes IMGIMGAZ in a text for an image token")
