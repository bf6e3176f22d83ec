"""The families that ship keep what `tests.policies.conformance` asks of every family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from policies.interface import Context, PictureSampling, Segment, TextSampling, last_picture
from policies.janus.policy import JanusPolicy
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import EOS
from tests.policies import janus_examples, tiny
from tests.policies.conformance import *  # noqa: F403 # the tests themselves
from tests.policies.conformance import Family
from tests.policies.janus import tiny_folder


def write_tiny(folder: Path, seed: int) -> None:
    tiny.small(seed, sharp=1).save_pretrained(folder)


def sampled_texts(
    policy: TinyPolicy | JanusPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    text, how = "red", [TextSampling(max_tokens=1)] * len(seeds)
    if isinstance(policy, TinyPolicy):
        first = policy.text.encode(text)[0] - EOS
    else:
        first = policy.wording.answer(text)[0]
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    return [(text, log_softmax(own)[:1, first]) for own in logits]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def sampled_pictures(
    policy: TinyPolicy | JanusPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    how = [PictureSampling()] * len(seeds)
    logits = policy.sample_codes(contexts, how, seeds, keep_logits=True).logits
    found = []
    for output, own in zip(policy.draw(contexts, how, seeds), logits, strict=True):
        picture = last_picture(output)
        found.append((picture, log_softmax(own)[np.arange(len(own)), picture.codes]))
    return found


FAMILIES = [
    Family(
        policy=TinyPolicy,
        write_folder=write_tiny,
        prompts=("a red circle", "the blue square", 'the word " c a t " in red', "judge"),
        unreadable=("a red Cirlce", "<image>", "</s>", "red \ud800"),
        overlong="red " * 200,
        picture=tiny.picture,
        sampled_texts=sampled_texts,
        sampled_pictures=sampled_pictures,
        sharp=5.0,
        rate=1e-2,
    ),
    Family(
        policy=JanusPolicy,
        write_folder=tiny_folder,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 200,
        picture=janus_examples.picture,
        sampled_texts=sampled_texts,
        sampled_pictures=sampled_pictures,
    ),
]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.policy.family)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param
