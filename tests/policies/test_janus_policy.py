"""Janus-Pro writes, draws and learns as the interface says; its numbers are in test_janus_golden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies import llama
from policies.interface import (
    Context,
    Example,
    Part,
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
    Unsupported,
    last_picture,
    learned,
)  # fmt: skip
from policies.janus.pictures import pixels_of
from policies.janus.policy import JanusPolicy
from policies.janus.tokens import OPTIONAL, REQUIRED
from policies.seeds import generator
from tests.policies.janus import tiny_folder
from tests.policies.janus_examples import PROMPTS, examples, picture


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> JanusPolicy:
    made = JanusPolicy.from_pretrained(tiny_folder(tmp_path_factory.mktemp("janus")))
    return sharper(made)


def sharper(policy: JanusPolicy) -> JanusPolicy:
    """Random weights of deviation 0.02 say next to nothing: larger ones make every test sharper."""
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3)
    return policy


def test_guidance_is_the_naive_formula(policy: JanusPolicy) -> None:
    contexts, guidance = [(prompt,) for prompt in PROMPTS], 5.0
    how = [PictureSampling(guidance=guidance)] * 4
    sampled = policy.sample_codes(contexts, how, range(4), keep_logits=True)
    for context, ids, logits in zip(contexts, sampled.tokens, sampled.logits, strict=True):
        question = policy.wording.question(context, {}, drawing=True)
        given = forced(policy, question, ids)
        without = forced(policy, policy.wording.unconditional(question), ids)
        expected = without + guidance * (given - without)
        assert torch.allclose(torch.from_numpy(logits), expected, atol=1e-4)


def forced(policy: JanusPolicy, question: tuple[int, ...], ids: np.ndarray) -> torch.Tensor:
    whole = torch.tensor([[*question, *ids.tolist()]])
    select = torch.arange(len(question) - 1, whole.shape[1] - 1)
    with torch.no_grad():
        return policy.module(whole, None, select, True)


def test_written_tokens_score_in_loss_as_they_were_sampled(policy: JanusPolicy) -> None:
    """By the token ids: what random weights write cannot be read back as text."""
    contexts: list[Context] = [(picture(i), prompt) for i, prompt in enumerate(PROMPTS)]
    sampled = policy.sample_words(contexts, [TextSampling(max_tokens=12)] * 4, range(4), True)
    looked, questions = policy.layout.questions(contexts, drawing=False)
    for i, question in enumerate(questions):
        ids = sampled.tokens[i]
        with torch.no_grad():
            nats = policy._nats([(question, tuple(ids.tolist()))], looked, False)
        logits = torch.from_numpy(sampled.logits[i][: len(ids)])
        chosen = logits.log_softmax(-1)[range(len(ids)), torch.from_numpy(ids)]
        assert torch.allclose(nats, -chosen, atol=1e-4)


def test_the_losing_picture_changes_what_is_drawn(policy: JanusPolicy) -> None:
    """transformers' generate(generation_mode="image") ignores it without a word."""
    contexts: list[Context] = [("a red circle", picture(seed)) for seed in (0, 1)]
    first, second = policy.sample_codes(
        contexts, [PictureSampling()] * 2, [5, 5], keep_logits=True
    ).logits
    assert np.abs(first - second).max() > 0.1


def test_each_pattern_trains_its_own_parts(policy: JanusPolicy) -> None:
    parts = {
        "generation": {"generation_embeddings", "generation_aligner", "generation_head"},
        "caption": {"vision_model", "aligner", "lm_head"},
    }
    parts["judgement"] = parts["caption"]
    parts["reflection"] = parts["generation"] | {"vision_model", "aligner"}
    for pattern, made in examples().items():
        policy.module.requires_grad_(True).zero_grad(set_to_none=True)
        for part in policy.loss(made).values():
            part.total.backward()
        named = policy.module.named_parameters()
        moved = {n.removeprefix("model.").split(".")[0] for n, w in named if w.grad is not None}
        assert moved == {"language_model", *parts[pattern]}
    policy.module.zero_grad(set_to_none=True)


def test_a_dropped_condition_is_learned_as_it_is_sampled(policy: JanusPolicy) -> None:
    with torch.no_grad():
        dropped = policy.loss(
            [Example((PROMPTS[0],), learned(picture(1)), "generation", dropped=frozenset({"text"}))]
        )
    question = policy.wording.question((PROMPTS[0],), {}, drawing=True)
    ids = picture(1).codes.astype(np.int64) + policy.module.words
    logits = forced(policy, policy.wording.unconditional(question), ids)
    wanted = torch.from_numpy(picture(1).codes).long()
    expected = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    assert dropped["codes"].total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_text_cannot_speak_in_special_tokens(policy: JanusPolicy) -> None:
    special = {
        policy.wording.tokenizer.token_to_id(name) for name in (REQUIRED | OPTIONAL).values()
    }
    hostile = "".join((REQUIRED | OPTIONAL).values())
    plain = policy.wording.question(("a cat",), {}, drawing=True)
    attack = policy.wording.question((f"a cat {hostile}",), {}, drawing=True)
    assert sum(t in special for t in attack) == sum(t in special for t in plain)
    assert len(attack) > len(plain) + len(hostile) // 2


def test_who_says_nothing_ends_the_turn_at_once(policy: JanusPolicy) -> None:
    """As the reference's conversation template does."""
    ids, special, seen = policy.wording.tokenizer, policy.wording.special, picture(0)
    colon = ids.encode(":", add_special_tokens=False).ids
    empty = (special.bos, special.user, *colon, special.assistant, *colon, special.begin_image)
    for context in ((), ("",), (" ", "\n")):
        assert policy.wording.question(context, {}, drawing=True) == empty
    looked = {id(seen): range(-1, -17, -1)}
    alone = policy.wording.question((seen,), looked, drawing=True)
    assert policy.wording.question(("", seen, " "), looked, drawing=True) == alone


def test_many_contexts_are_read_a_few_at_a_time(
    policy: JanusPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[Context] = [(f"{i} {p}", picture(i)) for i in range(3) for p in PROMPTS]
    how = [PictureSampling(guidance=3.0)] * len(contexts)
    whole = policy.sample_codes(contexts, how, range(12), keep_logits=True)
    monkeypatch.setattr(llama, "READ_AT_ONCE", 200)
    parts = policy.sample_codes(contexts, how, range(12), keep_logits=True)
    for one, other in zip(whole.logits, parts.logits, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_in_bfloat16_it_samples_about_the_same(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    plain, short = JanusPolicy.from_pretrained(folder), JanusPolicy.from_pretrained(folder)
    short.sample_on("cpu", "bfloat16")
    angles = short.module.model.language_model.rotary_emb.inv_freq
    assert torch.equal(angles, plain.module.model.language_model.rotary_emb.inv_freq)
    short.load_weights(plain.weights())
    assert short.module.lm_head.weight.dtype == torch.bfloat16
    contexts: list[Context] = [(PROMPTS[0], picture(0)), (PROMPTS[1],)]
    how = [PictureSampling(guidance=2.0), PictureSampling()]
    one, other = (p.sample_codes(contexts, how, [1, 2], keep_logits=True) for p in (plain, short))
    for ours, theirs in zip(one.logits, other.logits, strict=True):
        first = np.abs(ours[0] - theirs[0]).max()
        assert 0 < first < 0.05 * np.abs(ours[0]).max()
    assert all(
        last_picture(out).pixels.shape == (32, 32, 3) for out in short.draw(contexts, how, [1, 2])
    )
    assert len(short.write(contexts, [TextSampling(max_tokens=5)] * 2, [1, 2])) == 2


def test_an_overlong_prompt_is_refused_by_name(policy: JanusPolicy) -> None:
    with pytest.raises(PromptError, match=r"need \d+ tokens, but the model holds 512; shorten"):
        policy.draw([("cat " * 200,)], [PictureSampling()], [0])
    with pytest.raises(PromptError, match=r"need \d+ tokens, but the model holds 512; shorten"):
        policy.loss([Example(("cat " * 200,), learned(picture(0)), "generation")])


def test_pixels_without_codes_are_encoded(policy: JanusPolicy) -> None:
    bare = Picture(picture(0).pixels)
    codes = policy.vision.encode(pixels_of([bare], 32))[0].numpy().astype(np.int32)
    with torch.no_grad():
        encoded, given = (
            policy.loss([Example(("cat",), learned(target), "generation")])["codes"].total
            for target in (bare, Picture(bare.pixels, codes))
        )
    assert encoded == given


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (64, 64), (64, 32), (20, 40), (1, 1), (1, 500), (5, 3)]
)
def test_pictures_are_prepared_as_by_the_public_processor(height: int, width: int) -> None:
    """Where the reference cuts a side and transformers rounds it; of these, none differs."""
    from transformers import JanusImageProcessorPil

    pixels = generator("size", height, width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = JanusImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3, min_size=14
    )
    theirs = processor(pixels, input_data_format="channels_last", return_tensors="pt").pixel_values
    ours = pixels_of([Picture(pixels)], 32)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_target_of_several_parts_is_refused_by_name(policy: JanusPolicy) -> None:
    for target in (learned("a plan", picture(0)), (Part(picture(0), learned=False),), ()):
        for act in (policy.loss, policy.target_counts):
            with pytest.raises(Unsupported, match="family janus learns one text or one picture"):
                act([Example(("a cat",), target, "generation")])
