"""What a replica with an engine promises: answers that follow from the request alone, of the weights
that it names, in memory that does not grow."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import PictureSampling, TextSampling
from policies.sampling import Row
from policies.seeds import generator
from policies.tiny.policy import TinyPolicy
from policies.tiny.served import ServedTinyPolicy
from policies.tiny.text import EOS
from tests.policies.engines import contexts

pytestmark = pytest.mark.slow

SWAPS = 50
GROWTH_BYTES = 8 * 2**20
RARE = 1e-3
"""How improbable a sample of the stated distribution may look."""


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def shifted(weights: dict[str, np.ndarray], version: int) -> dict[str, np.ndarray]:
    """Other weights for each version, read-only as those of the weight store are."""
    made = {
        name: weight + generator("version", version, name).normal(0, 0.02, weight.shape)
        if weight.ndim == 2
        else weight
        for name, weight in weights.items()
    }
    fixed = {name: np.asarray(weight, np.float32) for name, weight in made.items()}
    for array in fixed.values():
        array.setflags(write=False)
    return fixed


def test_a_request_has_the_same_answer_whatever_came_before(served: ServedTinyPolicy) -> None:
    """To the bit, as far as log-probabilities can tell: the work of other tasks leaves no trace."""
    asked, how = contexts.drawing(16), PictureSampling(temperature=1.0, guidance=2.0)
    pictures = contexts.pictures(served)[:16]
    before = contexts.codes(served, asked, how), served.log_probs(asked, pictures)
    served.write(contexts.proposing(), [TextSampling(1.0, 40)] * len(contexts.proposing()),
                 range(len(contexts.proposing())))  # fmt: skip
    after = contexts.codes(served, asked, how), served.log_probs(asked, pictures)
    assert np.array_equal(before[0], after[0])
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))


def test_first_tokens_have_the_stated_distribution(
    own: TinyPolicy, served: ServedTinyPolicy
) -> None:
    """Chi-square over 10,000 seeds, tokens expected fewer than five times taken together."""
    count, words = 10_000, slice(EOS, own.text.code_offset)
    prompt = own.layout.prompts([contexts.proposing()[0][:1]])[0]
    rows = [Row(prompt, 1.0, 1.0, seed, 1) for seed in range(count)]
    found = served.engine.sample(rows, words)
    drawn = np.concatenate(found.tokens) - words.start
    logits = own.sample_words([contexts.proposing()[0][:1]], [TextSampling(1.0, 1)], [0], True)
    shares = np.exp(logits.logits[0][0].astype(np.float64))
    expected = count * shares / shares.sum()
    counted = np.bincount(drawn, minlength=len(expected)).astype(np.float64)
    often = expected >= 5
    observed = np.array([*counted[often], counted[~often].sum()])
    theory = np.array([*expected[often], expected[~often].sum()])
    assert chance(observed, theory) > RARE


def chance(observed: np.ndarray, theory: np.ndarray) -> float:
    """Of a chi-square that is at least as large."""
    found = torch.tensor(((observed - theory) ** 2 / theory).sum())
    freedom = torch.tensor((len(theory) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, found / 2))


def test_swapped_weights_answer_as_their_version_does(
    own: TinyPolicy, served: ServedTinyPolicy, folder: Path
) -> None:
    """Fifty versions one after the other, each heard at once, without a restart and without growth."""
    reference = TinyPolicy.from_pretrained(folder)
    asked, how = contexts.drawing(4), PictureSampling(temperature=0.0)
    seen, sizes, seconds = [], [], []
    for version in range(SWAPS):
        weights = shifted(own.weights(), version)
        began = time.perf_counter()
        served.load_weights(weights)
        seconds.append(time.perf_counter() - began)
        reference.load_weights(weights)
        found = contexts.codes(served, asked, how)
        assert np.array_equal(found, contexts.codes(reference, asked, how)), version
        seen.append(found.tobytes())
        sizes.append(resident())
    assert len(set(seen)) == SWAPS
    assert sizes[-1] - sizes[SWAPS // 5] < GROWTH_BYTES
    print(
        f"swap {np.median(seconds):.3f} s, growth {(sizes[-1] - sizes[SWAPS // 5]) / 2**20:.1f} MiB"
    )


def test_it_tells_what_it_did(served: ServedTinyPolicy) -> None:
    asked = contexts.judging(served)
    served.engine.figures()
    served.write(asked, [TextSampling(0.0, 40)] * len(asked), range(len(asked)))
    figures = served.engine.figures()
    assert figures.written > 0 and figures.read > 0 and 0 < figures.cache_use <= 1
    assert figures.running == len(asked)
    assert served.engine.figures().written == 0
