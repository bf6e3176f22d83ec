"""The BAGEL that ships: it sees and draws what it was taught.

Invariant: every prompt and scene here is held out from its training, and the oracle grades.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from evaluation.suites.tiny_world import suite
from policies.bagel.policy import BagelPolicy
from policies.bagel.toy.seeing import decoded, encoded
from policies.config import BagelPolicyConfig
from policies.interface import Picture, PictureSampling, TextSampling, last_picture
from policies.registry import load_policy
from policies.tiny import lessons
from policies.tiny.world.language import corrupt, parse

N, SEED = 60, 7
"""Prompts and scenes, six of each of the ten categories."""
CAPTIONS, JUDGEMENTS, DRAWINGS, REBUILT = 0.65, 0.65, 0.3, 0.8
"""Shares that are right at least, well below what was measured (docs/base-model.md)."""

World = suite()


@pytest.fixture(scope="module")
def base() -> BagelPolicy:
    policy = load_policy(BagelPolicyConfig())
    assert isinstance(policy, BagelPolicy)
    policy.sample_on("cpu", "float32")
    return policy


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Picture, str]]:
    return World.scenes(N, SEED)


def right(pictures: Sequence[Picture], prompts: Sequence[str]) -> float:
    verdicts = [World.verdict(each.pixels, text) for each, text in zip(pictures, prompts)]
    return float(np.mean([verdict.right for verdict in verdicts]))


def test_it_captions(base: BagelPolicy, scenes: list[tuple[Picture, str]]) -> None:
    contexts = [(picture, "describe") for picture, _ in scenes]
    written = base.write(contexts, [TextSampling(0.0, 40)] * N, range(N))
    found = [World.caption_right(picture, text) for (picture, _), text in zip(scenes, written)]
    assert np.mean(found) >= CAPTIONS


def test_it_judges(base: BagelPolicy, scenes: list[tuple[Picture, str]]) -> None:
    rng = np.random.default_rng(SEED)
    told = [
        text if i % 2 else corrupt(parse(text), rng)[0].text for i, (_, text) in enumerate(scenes)
    ]
    contexts = [("judge", text, picture) for text, (picture, _) in zip(told, scenes)]
    written = base.write(contexts, [TextSampling(0.0, 64)] * N, range(N))
    accepted = [json.loads(text)["score"] >= 9 for text in written]
    assert np.mean([said == bool(i % 2) for i, said in enumerate(accepted)]) >= JUDGEMENTS


def test_it_draws(base: BagelPolicy) -> None:
    prompts = [text for text, _ in World.prompts(N, SEED)]
    how = PictureSampling(guidance=3.0, steps=12, shift=3.0)
    outputs = base.draw([(text,) for text in prompts], [how] * N, range(N))
    pictures = [picture for each in outputs if (picture := last_picture(each)) is not None]
    assert right(pictures, prompts) >= DRAWINGS


def test_the_oracle_reads_what_the_autoencoder_rebuilds(
    base: BagelPolicy, scenes: list[tuple[Picture, str]]
) -> None:
    shown = [lessons.Scene(parse(text), picture) for picture, text in scenes]
    latents = encoded(base.autoencoder, shown)
    assert 0.8 < float(latents.std()) < 1.2
    pixels = decoded(base.autoencoder, latents)
    assert right([Picture(each) for each in pixels], [text for _, text in scenes]) >= REBUILT
