"""What is saved loads and generates in transformers as it is, from either layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
)

from policies.interface import Picture, PictureSampling, TextSampling, last_picture
from policies.janus.checkpoint import load, save
from policies.janus.pictures import pixels_of
from policies.janus.policy import JanusPolicy
from tests.policies.janus import tiny_folder
from tests.policies.janus_examples import picture
from tests.policies.test_janus_original import original

# As DeepSeek publishes them, for its own classes.
DEEPSEEKS: dict[str, dict[str, Any]] = {
    "preprocessor_config.json": {
        "background_color": [127, 127, 127], "do_normalize": True, "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "VLMImageProcessor", "image_size": 32,
        "image_std": [0.5, 0.5, 0.5], "min_size": 14, "processor_class": "VLChatProcessor",
        "rescale_factor": 1 / 255,
    },
    "processor_config.json": {
        "add_special_token": False, "ignore_id": -100, "image_tag": "<image_placeholder>",
        "mask_prompt": True, "num_image_tokens": 16, "processor_class": "VLChatProcessor",
        "sft_format": "deepseek",
    },
    "tokenizer_config.json": {
        "add_bos_token": True, "model_max_length": 256, "pad_token": None,
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
}  # fmt: skip


def deepseeks(folder: Path) -> Path:
    original(folder)
    for name, stated in DEEPSEEKS.items():
        (folder / name).write_text(json.dumps(stated))
    return folder


@pytest.fixture(scope="module", params=[tiny_folder, original, deepseeks])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make: Callable[[Path], Path] = request.param
    root = tmp_path_factory.mktemp("layout")
    save(root / "saved", load(make(root / "source")))
    return root / "saved"


@pytest.fixture(scope="module")
def net(saved: Path) -> Any:
    return JanusForConditionalGeneration.from_pretrained(saved)


def asked(processor: Any, prompt: str, seen: Picture | None = None, **options: Any) -> Any:
    """Token ids, and pixels where a picture is looked at, by transformers' own template."""
    content = [{"type": "text", "text": prompt}]
    if seen is not None:
        content.insert(0, {"type": "image"})
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    images = None if seen is None else [Image.fromarray(seen.pixels)]
    return processor(text=text, images=images, return_tensors="pt", **options)


def test_the_processor_is_found_and_reads_as_the_policy_does(saved: Path) -> None:
    policy, seen = JanusPolicy.from_pretrained(saved), picture(1, 48)
    special = policy.wording.special
    for processor in (JanusProcessor.from_pretrained(saved), AutoProcessor.from_pretrained(saved)):
        assert type(processor) is JanusProcessor
        drawn = asked(processor, "a red circle", generation_mode="image")
        question = policy.wording.question(("a red circle",), {}, drawing=True)
        assert drawn.input_ids[0].tolist() == list(question)
        told = asked(processor, "What?", seen, generation_mode="text")
        looked = {id(seen): range(-1, -17, -1)}
        question = policy.wording.question((seen, "What?"), looked, drawing=False)
        assert told.input_ids[0].tolist() == [special.image if i < 0 else i for i in question]
        # Both round a resized picture to whole values, at most one apart.
        own = pixels_of([seen], policy.size)
        assert (told.pixel_values - own).abs().max() < 1.5 / 127.5
        square = picture(2)
        assert torch.allclose(
            asked(processor, "What?", square).pixel_values, pixels_of([square], policy.size)
        )


def test_a_saved_checkpoint_draws_the_same_in_transformers(saved: Path, net: Any) -> None:
    policy, processor = JanusPolicy.from_pretrained(saved), AutoProcessor.from_pretrained(saved)
    asking = asked(processor, "a red circle", generation_mode="image")
    codes = net.generate(**asking, generation_mode="image", do_sample=False)
    greedy = PictureSampling(temperature=0.0, guidance=5.0)
    own = last_picture(policy.draw([("a red circle",)], [greedy], [0])[0])
    assert own is not None and own.codes is not None and codes[0].tolist() == own.codes.tolist()
    with torch.no_grad():
        decoded = net.decode_image_tokens(codes)[0]
    theirs = ((decoded + 1) / 2 * 255).clamp(0, 255).int().numpy()
    assert theirs.shape == own.pixels.shape
    assert np.abs(theirs - own.pixels.astype(int)).max() <= 1


def test_a_saved_checkpoint_writes_the_same_in_transformers(saved: Path, net: Any) -> None:
    policy, processor = JanusPolicy.from_pretrained(saved), AutoProcessor.from_pretrained(saved)
    asking = asked(processor, "a", generation_mode="text")
    given = asking.input_ids.shape[1]
    ids = net.generate(**asking, max_new_tokens=4, do_sample=False)[0, given:]
    (own,) = policy.write([("a",)], [TextSampling(temperature=0.0, max_tokens=4)], [0])
    assert policy.wording.text([i for i in ids.tolist() if i != policy.wording.special.eos]) == own


def test_generation_and_padding_are_those_of_the_tokenizer(saved: Path) -> None:
    special, config = load(saved).special, GenerationConfig.from_pretrained(saved)
    assert (config.bos_token_id, config.eos_token_id) == (special.bos, special.eos)
    assert config.pad_token_id == special.pad
    assert config.generation_kwargs == {"boi_token_id": special.begin_image}
    tokens = AutoTokenizer.from_pretrained(saved)
    batch = tokens(["a", "a red circle"], padding=True).input_ids
    assert batch[0][0] == special.pad and batch[1][0] == special.bos


def test_what_is_saved_again_is_the_same(saved: Path, tmp_path: Path) -> None:
    save(tmp_path / "again", load(saved))
    names = sorted(file.name for file in saved.iterdir())
    assert names == sorted(file.name for file in (tmp_path / "again").iterdir())
    for name in names:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_what_transformers_saves_is_kept(saved: Path, tmp_path: Path) -> None:
    """Since its version 5 it puts the picture processor's fields into processor_config.json."""
    folder = tmp_path / "theirs"
    JanusForConditionalGeneration.from_pretrained(saved).save_pretrained(folder)
    AutoProcessor.from_pretrained(saved).save_pretrained(folder)
    stated = {file.name: file.read_bytes() for file in folder.iterdir()}
    extras = load(folder).extras
    assert "preprocessor_config.json" not in extras
    assert {name: data for name, data in extras.items() if stated[name] != data} == {}
