"""What is read, written and scored is what transformers' own classes read, write and score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from policies.interface import Picture, PromptError, TextSampling
from policies.vision_language import checkpoint
from policies.vision_language.chat import Read, answered, asked
from policies.vision_language.policy import VisionLanguagePolicy
from policies.vision_language.seeing import FrozenEye
from tests.policies.vision_language.small import picture, write_model

KINDS = ("qwen2_vl", "qwen2_5_vl", "llava")


class Speaker(VisionLanguagePolicy):
    family = "speaker"


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp(request.param), 3, request.param)


@pytest.fixture(scope="module")
def speaker(folder: Path) -> Speaker:
    made = Speaker(checkpoint.load(folder), folder)
    with torch.no_grad():
        for weight in made.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3.0)
    return made


def inputs(speaker: Speaker, read: Read) -> dict[str, Any]:
    """One conversation as transformers' processors give it: without padding or positions."""
    ids = torch.tensor([read.ids])
    seen = speaker.eye.tensors(read.pictures) if read.pictures else {}
    kinds = (
        {"mm_token_type_ids": (ids == speaker.chat.image).int()} if "image_grid_thw" in seen else {}
    )
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **seen, **kinds}


CONTEXTS = (
    ("a red circle",), (picture(0), "what is it?"), ("one", picture(1), picture(2, 32), "ö→猫"), (),
)  # fmt: skip


def test_the_conversation_is_that_of_the_chat_template(folder: Path, speaker: Speaker) -> None:
    """Tokenised by transformers, which finds marks in a text, with a mark for each picture's feature."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    template = (folder / "chat_template.jinja").read_text()
    said = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
        {"role": "user", "content": [{"type": "text", "text": "sure?"}]},
    ]
    text = tokenizer.apply_chat_template(
        said, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    seen = picture(0)
    mark = speaker.chat.mark
    text = text.replace(mark, mark * speaker.eye.count(seen))
    read = speaker.read([asked(seen, "what?"), answered("a cat"), asked("sure?")], True)
    wanted = tokenizer(text, add_special_tokens=False).input_ids
    (answer,) = read.answers
    ours = list(read.ids)
    if "ASSISTANT" in template:  # which has no token that ends an answer
        del ours[answer.stop - 1]
    assert ours == wanted
    assert speaker.chat.text_of(read.ids[answer.start : answer.stop]) == "a cat"


def test_texts_are_as_likely_as_by_the_class_itself(speaker: Speaker) -> None:
    net = speaker._loaded.net
    scored = speaker.log_probs(CONTEXTS, ["red"] * len(CONTEXTS))
    for context, ours in zip(CONTEXTS, scored, strict=True):
        read = speaker.read([asked(*context), answered("red")], False)
        with torch.no_grad():
            logits = net(**inputs(speaker, read)).logits[0]
        (span,) = read.answers
        places = torch.tensor(span)
        logs = torch.log_softmax(logits[places - 1].float(), -1)
        theirs = logs[torch.arange(len(span)), torch.tensor(read.ids)[places]].numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_greedy_texts_are_those_of_generate(speaker: Speaker) -> None:
    net = speaker._loaded.net
    how = [TextSampling(temperature=0.0, max_tokens=12)] * len(CONTEXTS)
    written = speaker.sample_words(CONTEXTS, how, range(4)).tokens
    for context, ours in zip(CONTEXTS, written, strict=True):
        read = speaker.read([asked(*context)], True)
        made = net.generate(
            **inputs(speaker, read), max_new_tokens=12, do_sample=False, eos_token_id=speaker.chat.end,
            pad_token_id=0,
        )[0, len(read.ids) :].tolist()  # fmt: skip
        theirs = made[: made.index(speaker.chat.end)] if speaker.chat.end in made else made
        assert ours.tolist() == theirs


def test_pictures_take_as_many_tokens_as_there_are_features(speaker: Speaker) -> None:
    """Of many shapes: the model's class raises where the numbers differ."""
    for height, width in ((1, 1), (16, 16), (7, 61), (40, 9), (200, 100)):
        seen = Picture(np.full((height, width, 3), 90, np.uint8))
        read = speaker.read([asked(seen)], True)
        with torch.no_grad():
            speaker._loaded.net(**inputs(speaker, read))


def test_a_line_is_no_picture_to_a_grid(speaker: Speaker) -> None:
    line = Picture(np.zeros((1, 900, 3), np.uint8))
    if speaker._loaded.net.config.model_type == "llava":
        assert speaker.write([(line,)], [TextSampling(max_tokens=1)], [0])
        return
    with pytest.raises(PromptError, match="1 x 900 pixels cannot be seen"):
        speaker.write([(line,)], [TextSampling(max_tokens=1)], [0])


def test_a_frozen_eye_sees_what_the_model_sees_and_each_picture_once(folder: Path) -> None:
    loaded, passes = checkpoint.load(folder), list[int]()
    one, other = picture(0), picture(1)
    given = loaded.small.eye.tensors([one, other, one])
    model = loaded.net.model
    see = model.get_image_features
    with torch.no_grad():
        wanted = torch.cat(list(see(**given).pooler_output))

    def counted(**how: Any) -> Any:
        passes.append(len(how["pixel_values"]))
        return see(**how)

    model.get_image_features = counted
    eye = FrozenEye(loaded.small.eye, model)
    found = eye.tensors([one, other, one])
    torch.testing.assert_close(found.pop("features"), wanted, rtol=0, atol=1e-5)
    assert all(torch.equal(each, given[name]) for name, each in found.items())
    assert 3 * sum(passes) == 2 * len(given["pixel_values"])
    assert not any(w.requires_grad for part in eye.parts() for w in part.parameters())


def test_without_a_picture_all_that_sees_has_a_gradient_of_nothing(speaker: Speaker) -> None:
    speaker.module.zero_grad(set_to_none=True)
    speaker.nats([speaker.told(("a",), "b")]).sum().backward()
    blind = {n for n, w in speaker.module.named_parameters() if w.grad is None}
    speaker.module.zero_grad(set_to_none=True)
    speaker.nats([speaker.told((picture(0),), "b")]).sum().backward()
    also = {n for n, w in speaker.module.named_parameters() if w.grad is None}
    # LLaVA reads the layer before its tower's last, which learns from nothing.
    assert blind == also and all(".layers.1." in n or "post_layernorm" in n for n in blind)
    speaker.module.zero_grad(set_to_none=True)


def test_places_in_the_context_of_others_change_nothing(speaker: Speaker) -> None:
    alone = [speaker.log_probs([context], ["red"])[0] for context in CONTEXTS]
    together = speaker.log_probs(CONTEXTS, ["red"] * 4)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
