"""BAGEL keeps what every family keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from policies.bagel.policy import BagelPolicy
from policies.interface import Context, Segment, TextSampling
from tests.policies.bagel.small import picture, write_folder
from tests.policies.conformance import *  # noqa: F403
from tests.policies.conformance import Family


def sampled_texts(
    policy: BagelPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    text, how = "red", [TextSampling(max_tokens=1)] * len(seeds)
    first = policy.layout.text(text).ids[0]
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    logs = (own - np.log(np.exp(own).sum(-1, keepdims=True)) for own in logits)
    return [(text, own[:1, first]) for own in logs]


@pytest.fixture(scope="module")
def family() -> Family:
    return Family(
        policy=BagelPolicy,
        write_folder=write_folder,
        picture=picture,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 200,
        sampled_texts=sampled_texts,
        sampled_pictures=None,
        noisy=True,
        by_heart=0.1,
        size=(16, 24),
    )
