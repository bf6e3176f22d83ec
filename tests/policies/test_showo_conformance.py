"""Show-o keeps what every family keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from policies.interface import Context, Segment, TextSampling
from policies.showo.policy import ShowoPolicy
from tests.policies.conformance import *  # noqa: F403 # the tests themselves
from tests.policies.conformance import Family
from tests.policies.showo import picture, write_folder


def sampled_texts(
    policy: ShowoPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    text, how = "red", [TextSampling(max_tokens=1)] * len(seeds)
    first = policy.words.answer(text)[0]
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    return [(text, own[:1, first] - np.logaddexp.reduce(own[:1], -1)) for own in logits]


@pytest.fixture(scope="module")
def family() -> Family:
    return Family(
        policy=ShowoPolicy,
        write_folder=write_folder,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 2000,
        picture=picture,
        sampled_texts=sampled_texts,
        sampled_pictures=None,
        noisy=True,
    )
