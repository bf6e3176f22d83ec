"""A model that draws by tools keeps what every family keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from policies.interface import Context, Segment, TextSampling
from policies.tools.policy import ToolsPolicy
from tests.policies.conformance import *  # noqa: F403
from tests.policies.conformance import Family
from tests.policies.tools.small import SmallTools, output, write_folder
from tests.policies.vision_language.small import picture


def sampled_texts(
    policy: ToolsPolicy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    text, how = "red", [TextSampling(max_tokens=1)] * len(seeds)
    first = policy.chat.answer(text)[0]
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    logs = (own - np.log(np.exp(own).sum(-1, keepdims=True)) for own in logits)
    return [(text, own[:1, first]) for own in logs]


@pytest.fixture(scope="module")
def family() -> Family:
    return Family(
        policy=SmallTools,
        write_folder=write_folder,
        picture=picture,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 300,
        sampled_texts=sampled_texts,
        sampled_pictures=None,
        size=(24, 32),
        output=output,
    )
