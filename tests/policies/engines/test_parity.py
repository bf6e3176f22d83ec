"""The engine's answers are those of the family's own sampler: what admits a pairing.

Greedy answers are the same token by token. Sampled ones are made with the same uniform numbers, so
they differ only where one falls within a rounding error of the edge between two tokens.
"""

from __future__ import annotations

import numpy as np
import pytest

from policies.interface import Context, PictureSampling, PromptError, TextSampling
from policies.sampling import Row
from policies.tiny.policy import TinyPolicy
from policies.tiny.served import ServedTinyPolicy
from tests.policies.engines import contexts

pytestmark = pytest.mark.slow

EDGES = 0.05
"""Of answers that may fall on the other side of an edge."""
CLOSE = 1e-4


def require_same_texts(own: TinyPolicy, served: ServedTinyPolicy, asked: list[Context]) -> None:
    seeds = range(len(asked))
    for temperature, edges in ((0.0, 0.0), (1.0, EDGES)):
        how = [TextSampling(temperature, 40)] * len(asked)
        expected, found = own.write(asked, how, seeds), served.write(asked, how, seeds)
        assert np.mean([a != b for a, b in zip(expected, found, strict=True)]) <= edges
    require_close(own, served, asked, expected)


def require_close(own: TinyPolicy, served: ServedTinyPolicy, asked: list, targets: list) -> None:
    for expected, found in zip(
        own.log_probs(asked, targets), served.log_probs(asked, targets), strict=True
    ):
        assert found.dtype == np.float32
        assert np.abs(expected - found).max() < CLOSE


def test_texts_are_the_same(own: TinyPolicy, served: ServedTinyPolicy) -> None:
    require_same_texts(own, served, contexts.proposing())


def test_judgements_are_the_same(own: TinyPolicy, served: ServedTinyPolicy) -> None:
    require_same_texts(own, served, contexts.judging(own))


@pytest.mark.parametrize("guidance", [1.0, 3.0, 0.0])
def test_pictures_are_the_same(own: TinyPolicy, served: ServedTinyPolicy, guidance: float) -> None:
    asked = contexts.drawing()
    for temperature, edges in ((0.0, 0.0), (0.8, EDGES)):
        how = PictureSampling(temperature=temperature, guidance=guidance)
        expected, found = (contexts.codes(policy, asked, how) for policy in (own, served))
        assert np.mean((expected != found).any(1)) <= edges
    require_close(own, served, asked, contexts.pictures(own))


def test_guided_and_unguided_rows_go_together(own: TinyPolicy, served: ServedTinyPolicy) -> None:
    asked = contexts.drawing(12)
    how = [PictureSampling(temperature=0.0, guidance=1.0 + i % 3) for i in range(12)]
    expected, found = (
        policy.sample_codes(asked, how, range(12)).tokens for policy in (own, served)
    )
    assert np.array_equal(np.stack(expected), np.stack(found))


def test_more_pairs_than_are_read_at_once_stay_together(
    own: TinyPolicy, served: ServedTinyPolicy
) -> None:
    asked = [context for context in contexts.drawing() for _ in range(4)]  # 160 pairs
    how = PictureSampling(temperature=0.0, guidance=3.0)
    assert np.array_equal(contexts.codes(own, asked, how), contexts.codes(served, asked, how))


def test_nothing_is_asked_of_it_for_nothing(served: ServedTinyPolicy) -> None:
    assert served.write([], [], []) == []
    assert served.draw([], [], []) == []
    assert served.log_probs([], []) == []


def test_it_refuses_what_the_family_refuses(served: ServedTinyPolicy) -> None:
    with pytest.raises(PromptError, match="holds 192"):
        served.write([("red",)], [TextSampling(0.0, 500)], [0])
    with pytest.raises(PromptError, match="does not know"):
        served.write([("xylophone",)], [TextSampling()], [0])


def test_an_answer_that_would_be_cut_short_is_refused(served: ServedTinyPolicy) -> None:
    with pytest.raises(PromptError, match="more than the engine's 192; raise engine.max_length"):
        served.engine.sample([Row((1,) * 150, 0.0, 1.0, 0, 43)], slice(5, 9))
