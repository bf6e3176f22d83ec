"""Janus' texts by an engine, after contexts of words and pictures that come as embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import Context, Picture, TextSampling
from policies.janus import checkpoint
from policies.janus.policy import JanusPolicy
from policies.janus.served import ServedJanusPolicy, backbone
from policies.seeds import generator
from tests.policies.engines.engine import running
from tests.policies.janus import SIZE, tiny_folder

pytestmark = pytest.mark.slow

CLOSE = 1e-4
PROMPTS = ("a red circle", "three cats on a mat", "the word SALE", "two")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With heads as wide as the engine's attention takes at least, and sharper weights."""
    made = tiny_folder(tmp_path_factory.mktemp("janus"))
    config = json.loads((made / "config.json").read_text())
    config["text_config"] |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32}
    (made / "config.json").write_text(json.dumps(config))
    loaded = checkpoint.load(made)
    with torch.no_grad():
        for weight in loaded.net.model.language_model.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
        loaded.net.lm_head.weight.mul_(4)
    checkpoint.save(made, loaded)
    return made


@pytest.fixture(scope="module")
def own(folder: Path) -> JanusPolicy:
    torch.set_num_threads(1)
    return JanusPolicy.from_pretrained(folder)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ServedJanusPolicy]:
    with running(backbone(folder, "float32")) as engine:
        made = ServedJanusPolicy.from_pretrained(folder)
        made.serve_by(engine)
        yield made


def picture(seed: int) -> Picture:
    pixels = generator("seen", seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return Picture(pixels)


def require_same(own: JanusPolicy, served: ServedJanusPolicy, asked: list[Context]) -> None:
    seeds = range(len(asked))
    for temperature, edges in ((0.0, 0.0), (1.0, 0.1)):
        how = [TextSampling(temperature, 24)] * len(asked)
        expected, found = (each.sample_words(asked, how, seeds).tokens for each in (own, served))
        differ = [not np.array_equal(a, b) for a, b in zip(expected, found, strict=True)]
        assert np.mean(differ) <= edges
    texts = list(PROMPTS * (len(asked) // len(PROMPTS)))
    for a, b in zip(own.log_probs(asked, texts), served.log_probs(asked, texts), strict=True):
        assert np.abs(a - b).max() < CLOSE


def test_proposals_are_the_same(own: JanusPolicy, served: ServedJanusPolicy) -> None:
    require_same(own, served, [(f"Write a prompt like: {prompt}",) for prompt in PROMPTS * 3])


def test_judgements_are_the_same(own: JanusPolicy, served: ServedJanusPolicy) -> None:
    """Two pictures for each prompt, before and after its words: what is seen must count."""
    asked: list[Context] = [
        context
        for i, prompt in enumerate(PROMPTS * 2)
        for context in (("Judge this:", prompt, picture(i)), (picture(i), prompt))
    ]
    require_same(own, served, asked)
    one, other = served.log_probs([("Judge:", picture(0)), ("Judge:", picture(1))], ["two"] * 2)
    assert np.abs(one - other).max() > 10 * CLOSE
