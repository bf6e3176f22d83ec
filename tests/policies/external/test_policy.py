"""A language model with an outside decoder keeps what every family keeps, by each kind of bridge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from policies.external.policy import ExternalPolicy
from policies.interface import Context, Segment, TextSampling
from tests.policies.conformance import *  # noqa: F403
from tests.policies.conformance import Family
from tests.policies.external.small import (
    HIDDEN,
    picture,
    write_embeddings,
    write_folder,
    write_learning_signals,
)


def sampled_texts(
    policy: ExternalPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    text, how = "red", [TextSampling(max_tokens=1)] * len(seeds)
    first = policy.chat.answer(text)[0]
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    logs = (own - np.log(np.exp(own).sum(-1, keepdims=True)) for own in logits)
    return [(text, own[:1, first]) for own in logs]


SHARED = {
    "policy": ExternalPolicy,
    "prompts": ("a red circle", "the cat sits", "ö→猫", "What is it?"),
    "unreadable": ("a cat \ud800",),
    "overlong": "cat " * 200,
    "sampled_texts": sampled_texts,
    "sampled_pictures": None,
    "by_heart": 0.1,
    "steps": 400,
}
FAMILIES = {
    # Convolutions of two drawings and of one are rounded otherwise.
    "queries": Family(
        **SHARED, write_folder=write_folder, picture=picture, noisy=True, rounding=3e-6
    ),
    "embeddings": Family(
        **SHARED, write_folder=write_embeddings, picture=partial(picture, shape=(4, HIDDEN))
    ),
    "signals": Family(
        **SHARED, write_folder=write_learning_signals, picture=picture, noisy=True, rounding=3e-6,
        sharp=1.0,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]
