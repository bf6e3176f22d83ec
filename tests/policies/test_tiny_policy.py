"""The tiny policy: its language, its pictures, its loss and its weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from policies.config import ConfigError, TinyPolicyConfig
from policies.interface import (
    CheckpointError,
    Example,
    Part,
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
    last_picture,
    learned,
)
from policies.registry import load_policy
from policies.tiny.layout import GIVEN
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import BOS, END_IMAGE, EOS, IMAGE, PIECES, SEP
from tests.policies.tiny import PROMPTS, examples, forced, picture, small


def test_it_samples_in_float32_on_a_cpu_and_nowhere_else() -> None:
    policy = small()
    policy.sample_on("cpu", "float32")
    assert not any(weight.requires_grad for weight in policy.module.parameters())
    with pytest.raises(ConfigError, match="device is 'cuda': it must be \"cpu\": family tiny"):
        policy.sample_on("cuda", "float32")
    with pytest.raises(ConfigError, match=r"policy\.dtype is 'bfloat16'"):
        policy.sample_on("cpu", "bfloat16")


def test_a_code_is_the_same_picture_whatever_is_beside_it() -> None:
    vision = load_policy(TinyPolicyConfig()).vision
    rng = torch.Generator().manual_seed(0)
    codes = torch.randint(0, vision.config.codes, (30, vision.config.tokens), generator=rng)
    together = vision.decode(codes)
    for first, last in ((0, 1), (3, 30), (7, 12), (29, 30)):
        assert torch.equal(vision.decode(codes[first:last]), together[first:last])
    assert vision.decode(codes[:0]).shape == (0, *together.shape[1:])


# Text


@pytest.mark.parametrize("text", [*PROMPTS, '{"analysis": "circle yes , red no", "score": 4}'])
def test_text_round_trip(policy: TinyPolicy, text: str) -> None:
    assert policy.text.decode(policy.text.encode(text)) == text


def test_quotes_survive_json(policy: TinyPolicy) -> None:
    for prompt in ('the word " c a t " in red', '" c "', '"', 'a " , " , .'):
        record = {"major_category": "word", "subcategory": "a , t", "prompt": prompt}
        written = policy.text.decode(policy.text.encode(json.dumps(record)))
        assert json.loads(written) == record


def test_unknown_word_is_named_with_its_neighbours(policy: TinyPolicy) -> None:
    with pytest.raises(PromptError, match=r"'Cirlce' \(word 3 of 'a red Cirlce'\).*circle"):
        policy.draw([("a red Cirlce",)], [PictureSampling()], [0])


def test_half_a_surrogate_pair_is_refused_by_its_place_in_the_text(policy: TinyPolicy) -> None:
    said = r"'a red \\ud800' has half of a surrogate pair at place 7 of its 7 characters"
    with pytest.raises(PromptError, match=said) as caught:
        policy.draw([("red",), ("a red \ud800",)], [PictureSampling()] * 2, [0, 1])
    assert str(caught.value).isprintable()


def test_what_is_said_of_an_unknown_word_is_short_and_printable(policy: TinyPolicy) -> None:
    for word in ("x" * 100_000, "\x1b[2J", "\u202e"):
        with pytest.raises(PromptError, match="does not know") as caught:
            policy.write([(f"red {word}",)], [TextSampling()], [0])
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize("word", ["<image>", "<img_3>", "</s>"])
def test_structure_cannot_be_typed(policy: TinyPolicy, word: str) -> None:
    with pytest.raises(PromptError):
        policy.write([(word,)], [TextSampling()], [0])


def test_words_are_in_the_order_of_their_ids(policy: TinyPolicy) -> None:
    # The library's own order differs from process to process.
    assert list(policy.text.words.values()) == sorted(policy.text.words.values())


def test_a_text_may_have_no_room(policy: TinyPolicy) -> None:
    assert policy.write([("red",)] * 2, [TextSampling(max_tokens=0)] * 2, [0, 1]) == ["", ""]


def test_pictures_are_read_by_codes_or_by_pixels(policy: TinyPolicy) -> None:
    drawn = last_picture(policy.draw([("red",)], [PictureSampling()], [5])[0])
    assert drawn is not None
    assert drawn.pixels.shape == (48, 48, 3)
    assert drawn.pixels.dtype == np.uint8
    assert drawn.codes is not None
    assert drawn.codes.dtype == np.int32
    bare = Picture(drawn.pixels)
    seen = policy.vision.encode(torch.from_numpy(drawn.pixels[None]))[0].numpy()
    [made] = policy.layout.sequences([Example((bare,), learned("red"), "caption")])
    offset = policy.text.code_offset
    assert made.ids.tolist() == [
        BOS, IMAGE, *(seen + offset), END_IMAGE, SEP, *policy.text.encode("red"), EOS
    ]  # fmt: skip
    assert made.kinds.tolist() == [GIVEN] * 40 + [0, 0]
    with pytest.raises(ValueError, match="resize"):
        policy.write([(Picture(np.zeros((8, 8, 3), np.uint8)),)], [TextSampling()], [0])
    with pytest.raises(ValueError, match="36 codes from 0 to 59"):
        policy.write([(Picture(drawn.pixels, drawn.codes + 60),)], [TextSampling()], [0])


def test_codes_are_numbers_of_the_grid(policy: TinyPolicy) -> None:
    quantiser, codes = policy.vision.quantiser, torch.arange(60)
    grid = quantiser.unpack(codes)
    assert torch.equal(quantiser.pack(grid), codes)
    assert torch.allclose(quantiser.grid(torch.full((3,), 9.0)), torch.tensor([4.0, 3.0, 2.0]))
    assert torch.allclose(quantiser.grid(torch.full((3,), -9.0)), torch.zeros(3))


# Learning


def test_loss_is_the_naive_one(policy: TinyPolicy) -> None:
    made = examples()
    found = policy.loss(made)
    totals = {"text": [0.0, 0], "codes": [0.0, 0]}
    for example, row in zip(made, policy.layout.sequences(made), strict=True):
        ids, start = row.ids, int(np.argmax(row.kinds != GIVEN))
        logits = forced(policy, tuple(ids[:start]), ids[start:])
        kind = "codes" if example.draws else "text"
        totals[kind][0] += F.cross_entropy(
            logits, torch.from_numpy(ids[start:]), reduction="sum"
        ).item()
        totals[kind][1] += len(ids) - start
    for kind, (total, tokens) in totals.items():
        assert found[kind].count == tokens
        assert found[kind].total.item() == pytest.approx(total, rel=1e-5)


def test_a_dropped_condition_is_learned_as_it_is_sampled(policy: TinyPolicy) -> None:
    target, dropped = learned(picture(0)), frozenset({"text"})
    (row,) = policy.layout.sequences([Example(("red",), target, "generation", dropped=dropped)])
    assert row.ids[:3].tolist() == [BOS, SEP, IMAGE]
    assert row.kinds[:3].tolist() == [GIVEN, GIVEN, 1]


def test_parts_that_are_not_learned_are_context_for_the_later_ones(policy: TinyPolicy) -> None:
    plan, seen, tool = "a red circle", picture(0), picture(1)
    target = (Part(plan), Part(tool, learned=False), Part(seen))
    (row,) = policy.layout.sequences([Example(("red",), target, "generation")])
    text, codes = len(policy.text.encode(plan)), 36 + 2
    assert row.kinds.tolist() == [GIVEN] * 3 + [0] * text + [GIVEN] * codes + [1] * (codes + 1)
    found = policy.loss([Example(("red",), target, "generation")])
    assert {kind: term.count for kind, term in found.items()} == {"text": text, "codes": codes + 1}
    logits = forced(policy, tuple(row.ids[:3]), row.ids[3:])
    wanted = torch.from_numpy(row.ids[3:])
    nats = F.cross_entropy(logits, wanted, reduction="none")
    assert found["text"].total.item() == pytest.approx(nats[:text].sum().item(), rel=1e-5)
    assert found["codes"].total.item() == pytest.approx(nats[text + codes :].sum().item(), rel=1e-5)


def test_written_tokens_are_scored_as_they_were_sampled(policy: TinyPolicy) -> None:
    """Among the words alone, as `write` chooses: all they could be add up to one."""
    question, words = ("a red circle",), [w for w in policy.text.words if w not in PIECES]
    scores = policy.log_probs([question] * len(words), words)
    first = sum(np.exp(each[0]) for each in scores)
    end = np.exp(policy.log_probs([question], [""])[0][0])
    pieces = np.exp([policy.log_probs([question], [piece])[0][0] for piece in PIECES]).sum()
    assert first + end + pieces == pytest.approx(1, abs=1e-4)


# Weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("head.weight"), "lacks tensor head.weight"),
        (lambda w: w.update(more=np.zeros(2, np.float32)), "unknown tensor more"),
        (lambda w: w.update({"norm.weight": np.zeros(2, np.float32)}), "norm.weight of shape"),
        (lambda w: w.update({"norm.weight": w["norm.weight"].astype(np.float64)}), "float64"),
    ],
)
def test_other_weights_are_refused(policy: TinyPolicy, change, message: str) -> None:
    weights = policy.weights()
    change(weights)
    with pytest.raises(CheckpointError, match=message):
        policy.load_weights(weights)


def test_create_depends_on_the_seed_alone() -> None:
    torch.manual_seed(3)
    one = small(seed=4)
    torch.manual_seed(5)
    two, three = small(seed=4), small(seed=5)
    for name, weight in one.weights().items():
        assert np.array_equal(weight, two.weights()[name])
    assert not np.array_equal(one.weights()["head.weight"], three.weights()["head.weight"])
    for name, tensor in one.vision.state_dict().items():
        assert torch.equal(tensor, two.vision.state_dict()[name])
