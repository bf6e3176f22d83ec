"""Emu3 keeps what every family keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from policies.emu3.policy import Emu3Policy
from policies.interface import Context, PictureSampling, Segment, TextSampling, last_picture
from tests.policies.conformance import *  # noqa: F403 # the tests themselves
from tests.policies.conformance import Family
from tests.policies.emu3.small import picture, write_folder


def sampled_texts(
    policy: Emu3Policy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    first = policy.wording.answer("red")[0]
    how = [TextSampling(max_tokens=1)] * len(seeds)
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    return [("red", log_softmax(own)[:1, first]) for own in logits]


def sampled_pictures(
    policy: Emu3Policy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    how = [PictureSampling()] * len(seeds)
    logits = policy.sample_codes(contexts, how, seeds, keep_logits=True).logits
    found = []
    for output, own in zip(policy.draw(contexts, how, seeds), logits, strict=True):
        drawn = last_picture(output)
        found.append((drawn, log_softmax(own)[np.arange(len(own)), drawn.codes]))
    return found


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.fixture(scope="module")
def family() -> Family:
    return Family(
        policy=Emu3Policy,
        write_folder=write_folder,
        picture=picture,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 200,
        sampled_texts=sampled_texts,
        sampled_pictures=sampled_pictures,
        rate=5e-3,
    )
