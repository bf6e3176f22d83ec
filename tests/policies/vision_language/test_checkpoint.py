"""Folders of vision-language models: read whole, or refused in one sentence; written as they were."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from policies.interface import CheckpointError
from policies.lora import DOWN
from policies.vision_language import checkpoint
from policies.vision_language.policy import VisionLanguagePolicy
from tests.policies import damage
from tests.policies.vision_language.small import picture, write_model

CONFIG, WEIGHTS = "config.json", "model.safetensors"
EMBED = "model.language_model.embed_tokens.weight"


class Speaker(VisionLanguagePolicy):
    family = "speaker"


def edit(name: str, **fields: Any) -> damage.Damage:
    def change(folder: Path) -> None:
        described = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(described | fields))

    return change


def nan(held: dict[str, torch.Tensor]) -> None:
    held[sorted(held)[0]].flatten()[0] = torch.nan


def chat(template: str) -> damage.Damage:
    return damage.write("chat_template.jinja", template.encode())


DAMAGES: dict[str, tuple[damage.Damage, str]] = {
    "no config": (damage.lose(CONFIG), "config.json is missing"),
    "no weights": (damage.lose(WEIGHTS), "has no weights"),
    "no tokenizer": (damage.lose("tokenizer.json"), "tokenizer.json is missing"),
    "no processor": (
        damage.lose("preprocessor_config.json"),
        "preprocessor_config.json is missing",
    ),
    "no template": (damage.lose("chat_template.jinja"), "has no chat template"),
    "config": (damage.write(CONFIG, b"{"), "config.json is not JSON"),
    "list": (damage.write(CONFIG, b"[1]"), "config.json holds [1], which is no object"),
    "other": (
        edit(CONFIG, model_type="llama"),
        "is of model_type 'llama', which transformers has no",
    ),
    "kind": (edit(CONFIG, model_type=7), "is of model_type 7"),
    "sizes": (edit(CONFIG, vision_config="large"), "does not describe a qwen2_vl"),
    "mark": (edit(CONFIG, image_token_id=10**6), "has image_token_id=1000000"),
    "no mark": (edit(CONFIG, image_token_id=None), "does not describe a qwen2_vl"),
    "tokenizer": (damage.cut("tokenizer.json", 90), "tokenizer.json is not a tokenizer"),
    "processor": (
        edit("preprocessor_config.json", patch_size="x"),
        "does not say how a qwen2_vl sees",
    ),
    "looks": (edit("preprocessor_config.json", image_processor_type="Mystery"), "does not say how"),
    "cut": (damage.cut(WEIGHTS, 4000), "truncated or damaged"),
    "nan": (damage.tensors(WEIGHTS, nan), "NaN or infinite values"),
    "missing": (
        damage.tensors(WEIGHTS, lambda held: held.pop("lm_head.weight")),
        "lacks the tensor lm_head",
    ),
    "more": (
        damage.tensors(WEIGHTS, lambda held: held.update(odd=torch.ones(2))),
        "has an unknown tensor odd",
    ),
    "narrow": (
        damage.tensors(WEIGHTS, lambda held: held.update({"lm_head.weight": torch.ones(2, 2)})),
        "in another shape than its config.json says, the tensor lm_head.weight",
    ),
    "jinja": (chat("{% for"), "cannot be filled in"),
    "deaf": (
        chat("{% for m in messages %}{{ m['role'] }}{% endfor %}"),
        "leaves out a text or a picture",
    ),
    "blind": (
        chat(
            "{% for m in messages %}{{ m['role'] }}{% for c in m['content'] %}{{ c.get('text', '') }}"
            "{% endfor %}{% endfor %}"
        ),
        "leaves out a text or a picture",
    ),
    "thinks": (
        chat(
            "{% for m in messages %}{{ m['role'] }} {% for c in m['content'] %}{{ c['text'] }}{% endfor %}"
            "{% endfor %}{% if add_generation_prompt %}<think>{% endif %}"
        ),
        "puts something else before an answer",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("good"), 0)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused(good: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(good, folder)
    change, message = DAMAGES[name]
    change(folder)
    damage.refused(checkpoint.load, folder, message)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    damage.refused(checkpoint.load, tmp_path / "nowhere", "cannot be read (No such file")


@pytest.mark.parametrize(
    ("kind", "tied"), [("qwen2_vl", True), ("qwen2_5_vl", False), ("llava", False)]
)
def test_saved_again_it_is_the_same_to_transformers_too(
    tmp_path: Path, kind: str, tied: bool
) -> None:
    first = write_model(tmp_path / "first", 2, kind, tied)
    loaded = checkpoint.load(first)
    checkpoint.save(tmp_path / "second", loaded)
    ours, theirs = load_file(tmp_path / "second" / WEIGHTS), load_file(first / WEIGHTS)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja"):
        assert (tmp_path / "second" / name).read_bytes() == (first / name).read_bytes()
    net = AutoModelForImageTextToText.from_pretrained(tmp_path / "second", local_files_only=True)
    state = loaded.net.state_dict()
    assert all(torch.equal(tensor, state[n]) for n, tensor in net.state_dict().items())
    weights = Speaker(loaded).weights()
    assert ("lm_head.weight" in weights) == (not tied)
    names = {n for n, _ in loaded.net.named_parameters()}
    assert set(weights) == names


def test_an_answer_ends_as_the_tokenizer_says_where_nothing_else_does(tmp_path: Path) -> None:
    folder = write_model(tmp_path, 2, "llava")
    described = json.loads((folder / CONFIG).read_text())
    described["text_config"]["eos_token_id"] = None
    (folder / CONFIG).write_text(json.dumps(described))
    (folder / "generation_config.json").unlink()
    with pytest.raises(CheckpointError, match="names no token that ends a text"):
        checkpoint.read_small(folder)
    named = {"eos_token": {"content": "<|im_end|>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    chat = checkpoint.read_small(folder).chat
    assert chat.end == chat.marks["<|im_end|>"]


def test_tied_weights_stay_tied_when_others_are_loaded(tmp_path: Path) -> None:
    speaker = Speaker(checkpoint.load(write_model(tmp_path, 2, tied=True)))
    speaker.load_weights({n: w + np.float32(1) for n, w in speaker.weights().items()})
    head = speaker.module.lm_head.weight
    assert head.data_ptr() == dict(speaker.module.named_parameters())[EMBED].data_ptr()


def test_the_layout_of_the_first_release_is_read(tmp_path: Path) -> None:
    """Qwen's published folders have other names for the same tensors, and a flat config.json."""
    folder = write_model(tmp_path, 2, "qwen2_vl")
    wanted = Speaker(checkpoint.load(folder)).weights()
    described = json.loads((folder / CONFIG).read_text())
    text = described.pop("text_config")
    flat = {
        k: v
        for k, v in text.items()
        if k not in ("model_type", "rope_parameters", "layer_types", "dtype")
    }
    rope = {"rope_theta": 1e4, "rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]}}
    (folder / CONFIG).write_text(json.dumps({**flat, **described, **rope}))

    def rename(held: dict[str, torch.Tensor]) -> None:
        for name in list(held):
            old = name.replace("model.language_model.", "model.").replace(
                "model.visual.", "visual."
            )
            held[old] = held.pop(name)

    damage.tensors(WEIGHTS, rename)(folder)
    found = Speaker(checkpoint.load(folder)).weights()
    assert found.keys() == wanted.keys() and all(
        np.array_equal(found[n], wanted[n]) for n in wanted
    )


def test_it_is_read_without_accelerate_or_torchvision(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither comes with this program."""
    for name in ("accelerate", "torchvision"):
        monkeypatch.setitem(sys.modules, name, None)
    assert checkpoint.load(good).net is not None


@pytest.mark.parametrize("kind", ["qwen2_vl", "llava"])
def test_adapters_learn_and_are_published_as_whole_weights(tmp_path: Path, kind: str) -> None:
    folder = write_model(tmp_path, 2, kind)
    speaker, lesson = Speaker(checkpoint.load(folder), folder), (picture(0), "what?")
    before = speaker.weights()
    base = {name: array.copy() for name, array in before.items()}
    speaker.adapt(2, 4)
    adapters = speaker.weights()
    assert len(adapters) == 2 * 2 * 7 and all("language_model" in name for name in adapters)
    optimizer = torch.optim.SGD([w for w in speaker.module.parameters() if w.requires_grad], lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        speaker.nats([speaker.told(lesson, "a cat")]).sum().backward()
        optimizer.step()
    with pytest.raises(RuntimeError, match="a speaker whose adapters learn"):
        speaker.save_pretrained(tmp_path / "adapted")
    whole = speaker.published(speaker.weights())
    changed = {name for name in base if not np.array_equal(base[name], whole[name])}
    assert changed == {
        name.removesuffix(DOWN) + ".weight" for name in adapters if name.endswith(DOWN)
    }
    other = Speaker(checkpoint.load(folder), folder)
    other.load_weights(whole)
    ours = -speaker.nats([speaker.told(lesson, "a cat")]).detach().numpy()
    np.testing.assert_allclose(other.log_probs([lesson], ["a cat"])[0], ours, atol=1e-4)
