"""Chameleon keeps what every family keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from policies.chameleon.policy import ChameleonPolicy
from policies.interface import Context, PictureSampling, Segment, TextSampling, last_picture
from tests.policies.chameleon.small import picture, write_folder
from tests.policies.conformance import *  # noqa: F403
from tests.policies.conformance import Family


def sampled_texts(
    policy: ChameleonPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    text, how = "red", [TextSampling(max_tokens=1)] * len(seeds)
    first = policy.layout.tokenizer.encode(text, add_special_tokens=False).ids[0]
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    return [(text, log_softmax(own)[:1, first]) for own in logits]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def sampled_pictures(
    policy: ChameleonPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    how = [PictureSampling()] * len(seeds)
    logits = policy.sample_codes(contexts, how, seeds, keep_logits=True).logits
    found = []
    for output, own in zip(policy.draw(contexts, how, seeds), logits, strict=True):
        drawn = last_picture(output)
        found.append((drawn, log_softmax(own)[np.arange(len(own)), drawn.codes]))
    return found


@pytest.fixture(scope="module")
def family() -> Family:
    return Family(
        policy=ChameleonPolicy,
        write_folder=write_folder,
        picture=picture,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 200,
        sampled_texts=sampled_texts,
        sampled_pictures=sampled_pictures,
        # The norms of heads are matrices too: attention gets sharper by its square.
        sharp=2.0,
    )
