"""Emu3 against transformers' own classes, which take a saved folder as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, Emu3ForConditionalGeneration, Emu3ImageProcessor

from policies.emu3.pictures import pixels_of
from policies.emu3.policy import Emu3Policy
from policies.emu3.tiktoken import RESERVED
from policies.emu3.tokens import REQUIRED
from policies.emu3.wording import BEFORE
from policies.interface import Example, Picture, PictureSampling, TextSampling, learned
from policies.seeds import generator
from tests.policies.emu3.small import SIZE, picture, write_folder, write_original

PROMPTS = ("a red circle", "two blue squares above a long description", "")
SIDE = SIZE // 8


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Emu3Policy:
    folder = tmp_path_factory.mktemp("emu3")
    write_folder(folder, 0)
    return sharper(Emu3Policy.from_pretrained(folder))


def sharper(policy: Emu3Policy) -> Emu3Policy:
    """Random weights of deviation 0.02 say next to nothing: larger ones make every test sharper."""
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3)
    return policy


@pytest.fixture(scope="module")
def saved(policy: Emu3Policy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    policy.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(saved: Path) -> Any:
    return Emu3ForConditionalGeneration.from_pretrained(saved).eval()


@pytest.fixture(scope="module")
def processor(saved: Path) -> Any:
    return AutoProcessor.from_pretrained(saved)


def test_transformers_reads_every_bit(policy: Emu3Policy, theirs: Any) -> None:
    ours, found = policy._loaded.net.state_dict(), theirs.state_dict()
    assert ours.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in ours.items())
    assert theirs.config.text_config.attention_dropout == 0.1  # as released: the file keeps it


@pytest.mark.parametrize("write", [write_folder, write_original])
def test_what_is_saved_has_the_prompts_of_transformers_processor(
    write: Callable[[Path, int], None], tmp_path: Path
) -> None:
    (tmp_path / "from").mkdir()
    write(tmp_path / "from", 0)
    policy = Emu3Policy.from_pretrained(tmp_path / "from")
    policy.save_pretrained(tmp_path / "to")
    processor: Any = AutoProcessor.from_pretrained(tmp_path / "to")
    assert type(processor).__name__ == "Emu3Processor"
    asked = processor(
        text=list(PROMPTS), return_for_image_generation=True, ratio="1:1", image_area=SIZE * SIZE
    )
    for prompt, ids in zip(PROMPTS, asked["input_ids"], strict=True):
        question = policy.wording.question((prompt,), {}, drawing=True)
        assert ids == [*question, *policy.wording.header((SIDE, SIDE))]


def test_a_question_about_a_picture_has_the_ids_of_transformers_processor(
    policy: Emu3Policy, processor: Any, theirs: Any
) -> None:
    """With the codes where its placeholders are; both wordings."""
    bare = Picture(picture(3).pixels)
    coded = policy.layout.coded([(bare,)])
    for chat, text in (
        (False, "<image>What is it?"),
        (True, f"{BEFORE}<image>What is it?. ASSISTANT:"),
    ):
        policy.wording.chat = chat
        question = policy.layout.question((bare, "What is it?"), coded, drawing=False)
        policy.wording.chat = False
        asked = processor(images=[Image.fromarray(bare.pixels)], text=[text], return_tensors="pt")
        with torch.no_grad():
            codes = theirs.model.get_image_tokens(asked["pixel_values"], asked["image_sizes"])
        ids = asked["input_ids"][0]
        ids[ids == policy.special.placeholder] = codes.long()
        assert ids.tolist() == list(question)


def test_logits_and_losses_are_transformers_own(policy: Emu3Policy, theirs: Any) -> None:
    targets = (picture(0), "a red circle")
    for target, kind in zip(targets, ("codes", "text"), strict=True):
        example = Example((picture(1), "What is it?"), learned(target), "caption")
        coded = policy.layout.coded([(*example.context, target)])
        taught = policy.layout.taught(example, coded)
        ids = torch.tensor([taught.ids])
        labels = torch.full_like(ids, -100)
        places = taught.codes if kind == "codes" else taught.text
        labels[0, places] = ids[0, places]
        with torch.no_grad():
            found = theirs(input_ids=ids, labels=labels)
            logits = policy.module(ids, torch.arange(ids.shape[1]))
            (term,) = policy.loss([example]).values()
        assert torch.allclose(logits, found.logits[0], rtol=0.0, atol=1e-5)
        assert term.count == len(places) > 4
        assert term.total.item() / term.count == pytest.approx(found.loss.item(), abs=1e-5)
    codes = torch.tensor(taught.ids)
    assert ((codes >= policy.codes.start) & (codes < policy.codes.stop)).sum() == SIDE * SIDE


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_greedy_drawings_have_the_tokens_of_transformers_generate(
    policy: Emu3Policy, theirs: Any, guidance: float
) -> None:
    how = [PictureSampling(temperature=0.0, guidance=guidance)] * len(PROMPTS)
    ours = policy.sample_codes([(prompt,) for prompt in PROMPTS], how, range(3)).tokens
    for prompt, tokens in zip(PROMPTS, ours, strict=True):
        header = policy.wording.header((SIDE, SIDE))
        asked = torch.tensor([[*policy.wording.question((prompt,), {}, True), *header]])
        free = torch.tensor([[policy.special.bos, *header]])
        guided = (
            {
                "negative_prompt_ids": free,
                "negative_prompt_attention_mask": torch.ones_like(free),
                "guidance_scale": guidance,
            }
            if guidance != 1
            else {}
        )
        out = theirs.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=SIDE * (SIDE + 1) + 3,
            do_sample=False,
            prefix_allowed_tokens_fn=allowed(policy),
            **guided,
        )[0, asked.shape[1] :]
        drawn = policy.wording.picture(tokens.reshape(SIDE, SIDE) - policy.special.first)
        assert out.tolist() == [*drawn[len(header) :], policy.special.eos]
        ((part,),) = policy.draw([(prompt,)], how[:1], [0])
        seen = theirs.decode_image_tokens(image_tokens=out[None], height=SIDE, width=SIDE)
        codes = torch.from_numpy(tokens - policy.special.first).view(1, SIDE, SIDE)
        assert torch.allclose(policy.vision.paint(codes), seen, rtol=0.0, atol=1e-5)
        expected = ((seen[0] + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
        assert np.abs(part.segment.pixels.astype(int) - expected.numpy()).max() <= 1


def allowed(policy: Emu3Policy) -> Callable[[int, torch.Tensor], list[int]]:
    """What may follow, by the place alone (transformers' documentation of Emu3)."""
    special, whole = policy.special, SIDE * (SIDE + 1)
    ends = {whole + 1: special.end_frame, whole + 2: special.end_image, whole + 3: special.eos}

    def of(_: int, ids: torch.Tensor) -> list[int]:
        at = len(ids) - int((ids == special.image).nonzero()[0, 0])
        if at % (SIDE + 1) == 0 and at <= whole:
            return [special.end_row]
        return [ends[at]] if at in ends else list(range(policy.codes.start, policy.codes.stop))

    return of


def test_greedy_texts_have_the_tokens_of_transformers_generate(
    policy: Emu3Policy, theirs: Any
) -> None:
    contexts = [(picture(0), "What is it?"), ("a red circle",)]
    how = [TextSampling(temperature=0.0, max_tokens=12)] * 2
    ours = policy.sample_words(contexts, how, [0, 0]).tokens
    for context, tokens in zip(contexts, ours, strict=True):
        question = policy.layout.question(context, policy.layout.coded([context]), drawing=False)
        asked = torch.tensor([question])
        out = theirs.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=12,
            do_sample=False,
            prefix_allowed_tokens_fn=lambda *_: list(range(policy.words.stop)),
        )[0, asked.shape[1] :]
        assert out[: len(tokens)].tolist() == tokens.tolist() and len(tokens) > 3


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (64, 64), (64, 32), (20, 40), (2, 2), (5, 500), (6, 4)]
)
def test_pictures_are_prepared_as_by_transformers_processor(
    policy: Emu3Policy, height: int, width: int
) -> None:
    """Whose least and most area are both that of drawings."""
    pixels = generator("size", height, width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    area = SIZE * SIZE
    prepare = Emu3ImageProcessor(
        min_pixels=area, max_pixels=area, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    theirs = prepare(images=[Image.fromarray(pixels)], return_tensors="pt")
    rows, columns = policy.vision.grid(Picture(pixels))
    assert [[rows * 8, columns * 8]] == theirs["image_sizes"].tolist()
    ours = pixels_of([Picture(pixels)], (rows * 8, columns * 8))
    assert torch.allclose(ours, theirs["pixel_values"].float(), rtol=0.0, atol=1e-6)


def as_on_the_hub(folder: Path) -> None:
    """The small files of a saved folder as transformers' converter of 2024 wrote them for
    BAAI/Emu3-Chat-hf (convert_emu3_weights_to_hf.py): marks are words too, pieces are GPT-2's, and the
    rotary base is no part of rope_parameters."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    marks = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    pieces = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    tokenizer["model"]["vocab"] |= marks
    tokenizer["model"] |= {
        "ignore_merges": False,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
    }
    tokenizer |= {
        "normalizer": None, "pre_tokenizer": pieces, "decoder": pieces | {"add_prefix_space": True}
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    config = json.loads((folder / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    config["text_config"] |= {
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"rope_type": "default"},
    }
    config["vocabulary_map"] = tokenizer["model"]["vocab"]
    (folder / "config.json").write_text(json.dumps(config))
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    area = {"min_pixels": preprocessor["min_pixels"], "max_pixels": preprocessor["max_pixels"]}
    preprocessor |= {
        "size": area,
        "auto_map": {"AutoImageProcessor": "BAAI/Emu3-VisionTokenizer--x.Y"},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))


def test_the_small_files_of_the_hub_are_read_and_kept(policy: Emu3Policy, tmp_path: Path) -> None:
    policy.save_pretrained(tmp_path / "hub")
    as_on_the_hub(tmp_path / "hub")
    found = Emu3Policy.from_pretrained(tmp_path / "hub")
    assert found.special == policy.special
    contexts, how = [(prompt,) for prompt in PROMPTS], [PictureSampling(guidance=3.0)] * 3
    for ours, theirs in zip(
        policy.draw(contexts, how, range(3)), found.draw(contexts, how, range(3)), strict=True
    ):
        assert np.array_equal(ours[0].segment.codes, theirs[0].segment.codes)
        assert np.array_equal(ours[0].segment.pixels, theirs[0].segment.pixels)
    hostile = "".join(REQUIRED.values())
    ids = found.wording.question((hostile,), {}, drawing=True)
    assert len(ids) == len(hostile) + 1 and max(ids) < 256 + len(RESERVED)
    found.save_pretrained(tmp_path / "again")
    for name in ("tokenizer.json", "preprocessor_config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "hub" / name).read_bytes()
