"""Janus-Pro writes, draws and learns as the interface says; its numbers are in test_janus_golden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import Context, Example, Picture, PromptError, Sampling
from policies.janus import sampler
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


@pytest.mark.parametrize("context", [(), (picture(20),)], ids=["text", "picture"])
def test_drawn_codes_score_in_loss_as_they_were_sampled(
    policy: JanusPolicy, context: Context
) -> None:
    contexts = [(prompt, *context) for prompt in PROMPTS]
    how = [Sampling()] * 4
    drawn = policy.draw(contexts, how, range(4))
    sampled = policy.sample_codes(contexts, how, range(4), keep_logits=True)
    for question, seen, ids, logits in zip(
        contexts, drawn, sampled.tokens, sampled.logits, strict=True
    ):
        assert np.array_equal(seen.codes, ids - policy.module.words)
        chosen = torch.from_numpy(logits).log_softmax(-1)[
            range(16), torch.from_numpy(seen.codes).long()
        ]
        with torch.no_grad():
            scored = policy.loss([Example(question, seen, "generation")])["image"]
        assert scored.tokens == 16
        assert scored.total.item() == pytest.approx(-chosen.sum().item(), abs=16e-4)


def test_guidance_is_the_naive_formula(policy: JanusPolicy) -> None:
    contexts, guidance = [(prompt,) for prompt in PROMPTS], 5.0
    how = [Sampling(guidance=guidance)] * 4
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
    rows, looked = policy._rows(contexts, [Sampling(max_tokens=12)] * 4, range(4), drawing=False)
    embed = policy.module.model.language_model.embed_tokens
    sampled = policy._sample(rows, looked, embed, drawing=False, keep_logits=True)
    for i, row in enumerate(rows):
        ids = sampled.tokens[i]
        with torch.no_grad():
            nats = policy._nats([(row.context, tuple(ids.tolist()))], looked, False)
        logits = torch.from_numpy(sampled.logits[i][: len(ids)])
        chosen = logits.log_softmax(-1)[range(len(ids)), torch.from_numpy(ids)]
        assert torch.allclose(nats, -chosen, atol=1e-4)


def test_row_does_not_depend_on_the_others(policy: JanusPolicy) -> None:
    contexts: list[Context] = [(p, picture(i)) if i % 2 else (p,) for i, p in enumerate(PROMPTS)]
    how = [Sampling(guidance=g, max_tokens=10) for g in (1.0, 2.0, 1.0, 5.0)]
    drawn, written = (f(contexts, how, [1, 2, 3, 4]) for f in (policy.draw, policy.write))
    for i in (3, 0, 2, 1):
        assert np.array_equal(
            policy.draw([contexts[i]], [how[i]], [i + 1])[0].codes, drawn[i].codes
        )
        assert policy.write([contexts[i]], [how[i]], [i + 1]) == [written[i]]
    assert len({drawing.codes.tobytes() for drawing in drawn}) == 4


def test_the_losing_picture_changes_what_is_drawn(policy: JanusPolicy) -> None:
    """transformers' generate(generation_mode="image") ignores it without a word."""
    contexts: list[Context] = [("a red circle", picture(seed)) for seed in (0, 1)]
    first, second = policy.sample_codes(contexts, [Sampling()] * 2, [5, 5], keep_logits=True).logits
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


def test_the_tokens_of_the_loss_are_known_without_it(policy: JanusPolicy) -> None:
    for made in examples().values():
        with torch.no_grad():
            (part,) = policy.loss(made).values()
        assert part.tokens == policy.target_tokens(made)


def test_a_dropped_condition_is_learned_as_it_is_sampled(policy: JanusPolicy) -> None:
    with torch.no_grad():
        dropped = policy.loss([Example((PROMPTS[0],), picture(1), "generation", conditioned=False)])
    question = policy.wording.question((PROMPTS[0],), {}, drawing=True)
    ids = picture(1).codes.astype(np.int64) + policy.module.words
    logits = forced(policy, policy.wording.unconditional(question), ids)
    wanted = torch.from_numpy(picture(1).codes).long()
    expected = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    assert dropped["image"].total.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("pattern", ["generation", "caption", "judgement", "reflection"])
def test_one_batch_is_learned_by_heart(tmp_path: Path, pattern: str) -> None:
    learner = JanusPolicy.from_pretrained(tiny_folder(tmp_path))
    optimizer = torch.optim.AdamW(learner.module.parameters(), lr=3e-3, weight_decay=0.0)
    loss = float("inf")
    for _ in range(150):
        (part,) = learner.loss(examples()[pattern]).values()
        mean = part.total / part.tokens
        loss = mean.item()
        if loss < 0.1:
            break
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    assert loss < 0.1


def test_text_cannot_speak_in_special_tokens(policy: JanusPolicy) -> None:
    special = {
        policy.wording.tokenizer.token_to_id(name) for name in (REQUIRED | OPTIONAL).values()
    }
    hostile = "".join((REQUIRED | OPTIONAL).values())
    plain = policy.wording.question(("a cat",), {}, drawing=True)
    attack = policy.wording.question((f"a cat {hostile}",), {}, drawing=True)
    assert sum(t in special for t in attack) == sum(t in special for t in plain)
    assert len(attack) > len(plain) + len(hostile) // 2


def test_half_a_surrogate_pair_is_refused_by_its_place_in_the_text(policy: JanusPolicy) -> None:
    """Wherever the text stands in what the model reads, and before anything is sampled."""
    contexts: list[Context] = [("fine",), ("Draw", "  a cat \ud800"), (picture(0), "\udfff")]
    for context, place in ((contexts[1], "9 of its 9"), (contexts[2], "1 of its 1")):
        said = rf"^The text '.*\\ud.*' has half of a surrogate pair at place {place} characters"
        with pytest.raises(PromptError, match=said) as caught:
            policy.draw([contexts[0], context], [Sampling()] * 2, [0, 1])
        assert str(caught.value).isprintable()
        with pytest.raises(PromptError, match=said):
            policy.write([contexts[0], context], [Sampling()] * 2, [0, 1])
        with pytest.raises(PromptError, match=said):
            policy.loss([Example((picture(0),), str(context[1]), "caption")])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_, np.complex64, object])
def test_codes_that_are_no_whole_numbers_are_refused(
    policy: JanusPolicy, dtype: type[np.generic]
) -> None:
    seen = picture(0)
    assert seen.codes is not None
    target = Picture(seen.pixels, (seen.codes % 2).astype(dtype))
    with pytest.raises(ValueError, match=r"Picture.codes of dtype \w+ are no whole numbers"):
        policy.loss([Example(("a cat",), target, "generation")])


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
    how = [Sampling(guidance=3.0)] * len(contexts)
    whole = policy.sample_codes(contexts, how, range(12), keep_logits=True)
    monkeypatch.setattr(sampler, "READ_AT_ONCE", 200)
    parts = policy.sample_codes(contexts, how, range(12), keep_logits=True)
    for one, other in zip(whole.logits, parts.logits, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_in_bfloat16_it_samples_about_the_same(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    plain, short = JanusPolicy.from_pretrained(folder), JanusPolicy.from_pretrained(folder)
    short.sample_on("cpu", "bfloat16")
    angles = short.module.model.language_model.rotary_emb.inv_freq
    assert torch.equal(angles, plain.module.model.language_model.rotary_emb.inv_freq)
    weights = plain.weights()
    kept = short.module.lm_head.weight.data_ptr()
    short.load_weights(weights)
    assert short.module.lm_head.weight.data_ptr() == kept  # copied into what was there
    contexts: list[Context] = [(PROMPTS[0], picture(0)), (PROMPTS[1],)]
    how = [Sampling(guidance=2.0), Sampling()]
    one, other = (p.sample_codes(contexts, how, [1, 2], keep_logits=True) for p in (plain, short))
    for ours, theirs in zip(one.logits, other.logits, strict=True):
        first = np.abs(ours[0] - theirs[0]).max()
        assert 0 < first < 0.05 * np.abs(ours[0]).max()
    assert all(drawn.pixels.shape == (32, 32, 3) for drawn in short.draw(contexts, how, [1, 2]))
    assert len(short.write(contexts, [Sampling(max_tokens=5)] * 2, [1, 2])) == 2


def test_an_overlong_prompt_is_refused_by_name(policy: JanusPolicy) -> None:
    with pytest.raises(PromptError, match=r"need \d+ tokens, but the model holds 512; shorten"):
        policy.draw([("cat " * 200,)], [Sampling()], [0])
    with pytest.raises(PromptError, match=r"need \d+ tokens, but the model holds 512; shorten"):
        policy.loss([Example(("cat " * 200,), picture(0), "generation")])


def test_no_rows_are_no_work(policy: JanusPolicy) -> None:
    assert policy.draw([], [], []) == policy.write([], [], []) == []
    assert policy.loss([]) == {}


def test_codes_of_another_policy_are_refused(policy: JanusPolicy) -> None:
    wrong = Picture(picture(0).pixels, np.full(16, 64, dtype=np.int32))
    with pytest.raises(ValueError, match=r"not 16 codes from 0 to 63"):
        policy.loss([Example(("cat",), wrong, "generation")])


def test_pixels_without_codes_are_encoded(policy: JanusPolicy) -> None:
    bare = Picture(picture(0).pixels)
    codes = policy.vision.encode(pixels_of([bare], 32))[0].numpy().astype(np.int32)
    with torch.no_grad():
        encoded, given = (
            policy.loss([Example(("cat",), target, "generation")])["image"].total
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


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)  # fmt: skip
def test_other_arrays_are_refused(policy: JanusPolicy, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \[height, width, 3\]"):
        policy.write([(Picture(pixels), "what is it")], [Sampling()], [0])


def test_saved_and_loaded_it_is_the_same(policy: JanusPolicy, tmp_path: Path) -> None:
    policy.save_pretrained(tmp_path / "again")
    again = JanusPolicy.from_pretrained(tmp_path / "again")
    contexts: list[Context] = [(prompt,) for prompt in PROMPTS]
    how = [Sampling(guidance=5.0)] * 4
    for ours, theirs in zip(
        policy.draw(contexts, how, range(4)), again.draw(contexts, how, range(4)), strict=True
    ):
        assert np.array_equal(ours.codes, theirs.codes)
        assert np.array_equal(ours.pixels, theirs.pixels)


def test_published_weights_are_taken_without_a_copy(policy: JanusPolicy, tmp_path: Path) -> None:
    other = JanusPolicy.from_pretrained(tiny_folder(tmp_path, seed=1))
    weights = {name: array.copy() for name, array in policy.weights().items()}
    for array in weights.values():
        array.flags.writeable = False
    other.load_weights(weights)
    for name, parameter in other.module.named_parameters():
        assert parameter.data_ptr() == weights[name].ctypes.data
        assert not parameter.requires_grad
    drawn = (p.draw([(PROMPTS[0],)], [Sampling()], [3])[0].codes for p in (policy, other))
    assert np.array_equal(*drawn)
