"""Show-o2 keeps what every family keeps, here with words that are written by the table that they are
read by, as in the model of 1.5B; without that: test_transfusion.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from policies.config import ConfigError
from policies.graft import graft
from policies.interface import Context, Segment, TextSampling
from policies.showo2.policy import Showo2Policy
from tests.policies.conformance import *  # noqa: F403
from tests.policies.conformance import Family
from tests.policies.showo2.small import picture, write_folder


def sampled_texts(
    policy: Showo2Policy, contexts: Sequence[Context], seeds: Sequence[int]
) -> list[tuple[Segment, np.ndarray]]:
    """Of one text, the first token: not all that random weights write can be read again."""
    text, how = "red", [TextSampling(max_tokens=1)] * len(seeds)
    first = policy.layout.ids(text)[0]
    logits = policy.sample_words(contexts, how, seeds, keep_logits=True).logits
    logs = (own - np.log(np.exp(own).sum(-1, keepdims=True)) for own in logits)
    return [(text, own[:1, first]) for own in logs]


@pytest.fixture(scope="module")
def family() -> Family:
    return Family(
        policy=Showo2Policy,
        write_folder=write_folder,
        picture=picture,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 200,
        sampled_texts=sampled_texts,
        sampled_pictures=None,
        sharp=1.5,
        noisy=True,
        by_heart=0.1,
        size=(16, 32),
    )


def test_a_graft_puts_back_what_only_understanding_needs_and_nothing_else(
    family: Family, folder: Path
) -> None:
    """In the place of the kit's: nothing is for understanding alone."""
    base = Showo2Policy.from_pretrained(folder)
    assert base.understanding() == {}
    with pytest.raises(ConfigError, match="there is nothing to graft"):
        graft(Showo2Policy.from_pretrained(folder), base)
