"""Chameleon writes, draws and learns as the interface says; its numbers are in test_transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies import llama
from policies.chameleon.checkpoint import save
from policies.chameleon.pictures import pixels_of
from policies.chameleon.policy import ChameleonPolicy
from policies.chameleon.tokens import REQUIRED, code_name
from policies.config import ChameleonPolicyConfig
from policies.interface import (
    Context,
    Example,
    Part,
    Picture,
    PictureSampling,
    TextSampling,
    last_picture,
    learned,
)
from policies.registry import footprint
from tests.mutations import bounded
from tests.policies.chameleon.small import (
    CODES,
    PROMPTS,
    SIZE,
    TOKENS,
    bare,
    examples,
    loaded,
    picture,
)

CONTEXTS: list[Context] = [(p, picture(i)) if i % 2 else (p,) for i, p in enumerate(PROMPTS)]


def made(folder: Path, swin: bool = False) -> ChameleonPolicy:
    """Random weights of deviation 0.02 say next to nothing: larger ones make every test sharper."""
    save(folder, loaded(1, swin=swin))
    policy = ChameleonPolicy.from_pretrained(folder)
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(2)
    return policy


@pytest.fixture(scope="module", params=[False, True], ids=["7b", "30b"])
def policy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ChameleonPolicy:
    return made(tmp_path_factory.mktemp("chameleon"), request.param)


def forced(policy: ChameleonPolicy, question: Sequence[int], codes: np.ndarray) -> torch.Tensor:
    """Logits of each code given the ones before it, by the training forward pass."""
    ids = torch.tensor([[*question, *policy.layout.special.codes[codes].tolist()]])
    places = torch.arange(len(question) - 1, ids.shape[1] - 1)
    with torch.no_grad():
        return policy.module(ids, places[:0], places)[1]


def test_guidance_is_the_naive_formula(policy: ChameleonPolicy) -> None:
    guidance = 5.0
    how = [PictureSampling(guidance=guidance)] * len(CONTEXTS)
    sampled = policy.sample_codes(CONTEXTS, how, range(4), keep_logits=True)
    blocks = policy.layout.blocks([s for c in CONTEXTS for s in c if isinstance(s, Picture)])
    for context, codes, logits in zip(CONTEXTS, sampled.tokens, sampled.logits, strict=True):
        given, without = (
            forced(policy, policy.layout.question(context, blocks, True, told), codes)
            for told in (True, False)
        )
        expected = without + guidance * (given - without)
        assert torch.allclose(torch.from_numpy(logits), expected, atol=2e-4)


def test_drawn_together_or_one_at_a_time_codes_and_pixels_are_the_same(
    policy: ChameleonPolicy,
) -> None:
    how = [
        PictureSampling(guidance=g, temperature=t) for g, t in ((1, 1), (3, 1), (2, 0), (1, 0.5))
    ]
    together = policy.draw(CONTEXTS, how, [7, 8, 9, 10])
    for i, output in enumerate(together):
        (alone,) = policy.draw([CONTEXTS[i]], [how[i]], [7 + i])
        one, other = last_picture(output), last_picture(alone)
        assert one is not None and other is not None
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_allclose(one.pixels.astype(int), other.pixels, atol=1)
    assert len({output[0].segment.codes.tobytes() for output in together}) == 4


def test_many_contexts_are_read_a_few_at_a_time(
    policy: ChameleonPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = [PictureSampling(guidance=3.0)] * 4
    whole = policy.sample_codes(CONTEXTS, how, range(4), keep_logits=True)
    monkeypatch.setattr(llama, "READ_AT_ONCE", 150)
    parts = policy.sample_codes(CONTEXTS, how, range(4), keep_logits=True)
    for one, other in zip(whole.logits, parts.logits, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_a_text_has_no_image_token_and_scores_in_loss_as_it_was_sampled(
    policy: ChameleonPolicy,
) -> None:
    """By the token ids: what random weights write cannot be read back as text."""
    how = [TextSampling(max_tokens=40)] * 4
    sampled = policy.sample_words(CONTEXTS, how, range(4), keep_logits=True)
    blocks = policy.layout.blocks([s for c in CONTEXTS for s in c if isinstance(s, Picture)])
    for context, ids, logits in zip(CONTEXTS, sampled.tokens, sampled.logits, strict=True):
        assert not set(ids.tolist()) & set(policy.layout.special.codes.tolist())
        question = policy.layout.question(context, blocks, drawing=False)
        whole = torch.tensor([[*question, *ids.tolist()]])
        places = torch.arange(len(question) - 1, whole.shape[1] - 1)
        with torch.no_grad():
            words = policy.module(whole, places, places[:0])[0].log_softmax(-1)
        chosen = torch.from_numpy(logits[: len(ids)]).log_softmax(-1)
        at = (range(len(ids)), torch.from_numpy(ids))
        assert torch.allclose(words[at], chosen[at], atol=2e-4)


def test_a_text_ends_where_a_picture_would_begin(policy: ChameleonPolicy) -> None:
    special, layout = policy.layout.special, policy.layout
    ids = layout.tokenizer.encode("a cat", add_special_tokens=False).ids
    assert policy.text_of(ids) == "a cat"
    for mark in (special.begin_image, special.eos):
        assert policy.text_of([*ids, mark, *ids]) == "a cat"
    assert policy.text_of([special.pad, *ids, special.separator]) == "a cat"


def test_rows_are_laid_out_as_published(policy: ChameleonPolicy) -> None:
    """A plan, a drawing, another's picture and a remark: each kind is learned where it stands."""
    special, encode = policy.layout.special, policy.layout.tokenizer.encode
    words = [encode(text, add_special_tokens=False).ids for text in ("ask", "plan", "so")]
    pictures = [picture(i) for i in range(3)]
    codes = [special.codes[each.codes].tolist() for each in pictures]
    target = (Part("plan"), Part(pictures[1]), Part(pictures[2], learned=False), Part("so"))
    row = Example((pictures[0], "ask"), target, "generation")
    (laid,) = policy.layout.all_laid([row])
    begin, end = special.begin_image, special.end_image
    expected = [special.bos, begin, *codes[0], end, *words[0], special.separator]
    plan = range(len(expected), len(expected) + len(words[1]) + 1)
    expected += [*words[1], begin]
    drawn = range(len(expected), len(expected) + TOKENS)
    expected += [*codes[1], end, begin, *codes[2], end]
    so = range(len(expected), len(expected) + len(words[2]) + 1)
    expected += [*words[2], special.eos]
    assert list(laid.ids) == expected and policy.lengths([row]) == [len(expected)]
    assert laid.words.tolist() == [*plan, *so] and laid.codes.tolist() == [*drawn]
    assert policy.target_counts([row]) == {"text": len(plan) + len(so), "codes": TOKENS}


def test_a_dropped_text_is_learned_as_it_is_sampled(policy: ChameleonPolicy) -> None:
    seen, drawn = picture(2), picture(1)
    dropped = Example((PROMPTS[0], seen), learned(drawn), "reflection", dropped=frozenset({"text"}))
    (laid,) = policy.layout.all_laid([dropped])
    blocks = policy.layout.blocks([seen])
    free = policy.layout.question((PROMPTS[0], seen), blocks, drawing=True, told=False)
    special = policy.layout.special
    assert laid.ids[:-TOKENS] == free
    assert free[0] == special.bos and special.separator not in free and len(free) == TOKENS + 4
    assert policy.layout.question((PROMPTS[0],), {}, True, told=False) == (
        special.bos, special.begin_image,
    )  # fmt: skip
    with torch.no_grad():
        total = policy.loss([dropped])["codes"].total
    logits = forced(policy, free, drawn.codes)
    wanted = torch.from_numpy(drawn.codes).long()
    expected = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_pictures_are_read_by_their_codes_and_encoded_without(policy: ChameleonPolicy) -> None:
    plain = bare(0, 20, 40)
    pixels = pixels_of([plain], SIZE, policy.layout.scale)
    codes = policy.vision.encode(pixels)[0].numpy().astype(np.int32)
    named = Picture(255 - plain.pixels, codes)
    for part in ("context", "target"):
        rows = [
            Example((seen, "What?"), learned("a"), "caption")
            if part == "context"
            else Example(("a",), learned(seen), "generation")
            for seen in (plain, named, picture(3))
        ]
        with torch.no_grad():
            first, second, other = (
                sum(term.total for term in policy.loss([row]).values()) for row in rows
            )
        assert first == second != other
    asked = [(plain, "What?"), (named, "What?")]
    one, other = policy.write(asked, [TextSampling(temperature=0.0, max_tokens=8)] * 2, [0, 0])
    assert one == other


def test_a_long_strip_asks_for_no_more_memory_than_a_short_one() -> None:
    """Scaled whole, this one would take 6 GB."""
    strip = np.repeat(np.arange(1, 201, dtype=np.uint8), 10_000)[None, :, None].repeat(3, 2)
    for pixels in (strip, strip.transpose(1, 0, 2)):
        with bounded("a strip"):
            read = pixels_of([Picture(pixels)], SIZE, 2 / 255)
        assert read.shape == (1, 3, SIZE, SIZE)
        assert (read - (100.5 * 2 / 255 - 1)).abs().max() < 0.01  # its middle


def test_text_cannot_speak_in_special_or_image_tokens(policy: ChameleonPolicy) -> None:
    special, layout = policy.layout.special, policy.layout
    marks = {layout.tokenizer.token_to_id(name) for name in REQUIRED.values()}
    codes = set(special.codes.tolist())
    hostile = "".join((*REQUIRED.values(), *(code_name(code) for code in range(CODES))))
    plain, attack = (layout.question((f"a cat {more}",), {}, True) for more in ("", hostile))
    assert not codes & set(attack)
    assert sum(t in marks for t in attack) == sum(t in marks for t in plain)
    assert len(attack) > len(plain) + len(hostile) // 2


def test_codes_may_have_their_tokens_in_any_order(policy: ChameleonPolicy) -> None:
    """The names say which is which; only in the public vocabulary the ids are in order, too."""
    one = loaded(1)
    order = np.random.default_rng(0).permutation(CODES)
    shuffled = replace(one, special=replace(one.special, codes=one.special.codes[order]))
    plain, other = ChameleonPolicy(one), ChameleonPolicy(shuffled)
    drawn = picture(0)
    renamed = Picture(drawn.pixels, np.argsort(order)[drawn.codes].astype(np.int32))
    first = plain.loss([Example(("a",), learned(drawn), "generation")])["codes"].total
    second = other.loss([Example(("a",), learned(renamed), "generation")])["codes"].total
    assert first.item() == pytest.approx(second.item(), rel=1e-6)


def test_in_bfloat16_pictures_have_the_same_codes(tmp_path: Path) -> None:
    plain, short = made(tmp_path), ChameleonPolicy.from_pretrained(tmp_path)
    short.sample_on("cpu", "bfloat16")
    short.load_weights(plain.weights())
    angles = short.module.model.rotary_emb.inv_freq
    assert torch.equal(angles, plain.module.model.rotary_emb.inv_freq)
    assert short.module.dtype == torch.bfloat16
    seen = [bare(i) for i in range(4)]
    assert list(plain.layout.blocks(seen).values()) == list(short.layout.blocks(seen).values())
    how = [PictureSampling(guidance=2.0)] * 4
    one, other = (p.sample_codes(CONTEXTS, how, range(4), keep_logits=True) for p in (plain, short))
    for ours, theirs in zip(one.logits, other.logits, strict=True):
        first = np.abs(ours[0] - theirs[0]).max()
        assert 0 < first < 0.1 * np.abs(ours[0]).max()


def test_what_adapters_learn_is_published_as_whole_weights(tmp_path: Path) -> None:
    folder = tmp_path / "chameleon"
    save(folder, loaded(2))
    pupil, plain = (ChameleonPolicy.from_pretrained(folder) for _ in range(2))
    pupil.adapt(4, 16)
    size = footprint(ChameleonPolicyConfig(path=str(folder)))
    assert sum(array.size for array in pupil.weights().values()) == 4 * size.adapter
    batch = examples()["reflection"]
    assert torch.equal(pupil.loss(batch)["codes"].total, plain.loss(batch)["codes"].total)
    learning = [w for w in pupil.module.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    before = pupil.loss(batch)["codes"].total.item()
    for _ in range(10):
        optimizer.zero_grad()
        pupil.loss(batch)["codes"].total.backward()
        optimizer.step()
    after = pupil.loss(batch)["codes"].total.item()
    assert after < before - 1
    plain.load_weights(pupil.published(pupil.weights()))
    assert plain.loss(batch)["codes"].total.item() == pytest.approx(after, rel=1e-5)
    for act in (
        lambda: pupil.draw([("a cat",)], [PictureSampling()], [0]),
        lambda: pupil.write([("a cat",)], [TextSampling()], [0]),
        lambda: pupil.save_pretrained(folder / "again"),
        lambda: pupil.load_weights({}),
    ):
        with pytest.raises(RuntimeError, match="adapters learn neither samples nor is saved"):
            act()
