"""The sampler against the training forward pass and naive formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from policies.interface import (
    Context,
    PictureSampling,
    TextSampling,
    last_picture,
)
from policies.sampling import Row
from policies.seeds import generator
from policies.tiny.policy import TinyPolicy
from policies.tiny.sampler import sample_tokens
from policies.tiny.text import BOS, EOS, IMAGE, SEP
from tests.policies.tiny import PROMPTS, forced, rows


def test_sampled_logits_are_those_of_the_forward_pass(policy: TinyPolicy) -> None:
    words = slice(EOS, policy.text.code_offset)
    drawn = slice(policy.text.code_offset, policy.text.size)
    made = rows(policy)
    for allowed, stop in ((drawn, None), (words, EOS)):
        sampled = sample_tokens(policy.module, made, allowed, stop=stop, keep_logits=True)
        for row, tokens, logits in zip(made, sampled.tokens, sampled.logits, strict=True):
            whole = np.append(tokens, EOS)[: row.max_tokens]
            expected = forced(policy, row.context, whole)[:, allowed].log_softmax(-1)
            found = torch.from_numpy(logits).log_softmax(-1)
            assert torch.allclose(found, expected, atol=1e-4)


def test_choice_is_the_inverse_of_the_distribution(policy: TinyPolicy) -> None:
    allowed = slice(policy.text.code_offset, policy.text.size)
    made = rows(policy, temperature=0.7)
    sampled = sample_tokens(policy.module, made, allowed, keep_logits=True)
    for row, tokens, logits in zip(made, sampled.tokens, sampled.logits, strict=True):
        scaled = np.exp(logits.astype(np.float64) / row.temperature)
        heights = np.cumsum(scaled / scaled.sum(-1, keepdims=True), axis=-1)
        aims = generator(row.seed).random(36, dtype=np.float32)
        chosen = [int(np.searchsorted(h, aim)) for h, aim in zip(heights, aims, strict=True)]
        assert np.mean(np.array(chosen) == tokens - allowed.start) > 0.97  # rounding at an edge


def test_guidance_is_the_naive_formula(policy: TinyPolicy) -> None:
    allowed, free = slice(policy.text.code_offset, policy.text.size), (BOS, SEP, IMAGE)
    made = [*rows(policy, guidance=3.0), *rows(policy)]
    sampled = sample_tokens(policy.module, made, allowed, keep_logits=True)
    for row, tokens, logits in zip(made, sampled.tokens, sampled.logits, strict=True):
        given = forced(policy, row.context, tokens)[:, allowed]
        without = forced(policy, free, tokens)[:, allowed]
        expected = without + row.guidance * (given - without)
        assert torch.allclose(torch.from_numpy(logits), expected, atol=1e-4)


def test_greedy_is_the_same_in_any_batch(policy: TinyPolicy) -> None:
    contexts: list[Context] = [(prompt,) for prompt in PROMPTS]
    greedy, text = PictureSampling(0.0, guidance=2.0), TextSampling(0.0, max_tokens=20)
    together = policy.draw(contexts, [greedy] * 4, range(4))
    written = policy.write(contexts, [text] * 4, range(4))
    for i, context in enumerate(contexts):
        (alone,) = policy.draw([context], [greedy], [99])
        assert np.array_equal(last_picture(alone).codes, last_picture(together[i]).codes)
        assert policy.write([context], [text], [99]) == [written[i]]


def test_writing_ends_at_each_rows_own_limit(policy: TinyPolicy) -> None:
    prompts = [(BOS, *policy.text.encode(prompt), SEP) for prompt in PROMPTS]
    whole = [Row(prompts[i % 4], 1.5, 1.0, i, 24) for i in range(24)]
    short = [replace(row, max_tokens=i) for i, row in enumerate(whole)]
    words = slice(EOS, policy.text.code_offset)
    cut = sample_tokens(policy.module, short, words, stop=EOS).tokens
    full = sample_tokens(policy.module, whole, words, stop=EOS).tokens
    assert min(map(len, full)) < 10 < max(map(len, full))
    assert [list(c) for c in cut] == [list(f[:n]) for n, f in enumerate(full)]
