"""Diversity falls as prompts repeat each other, and needs nothing but prompts and a key."""

from __future__ import annotations

import pytest

from evaluation.diversity import PAIRS, diversity, self_similarity
from evaluation.paired import gain


def never(_: str) -> bool:
    return False


def test_no_prompts_have_no_numbers():
    assert diversity([], never, 0, 1) == {}


def test_equal_prompts_are_as_poor_as_can_be():
    found = diversity(["a red circle"] * 4, never, 0, 1)
    assert found["diversity/distinct_1"] == pytest.approx(3 / 12)
    assert found["diversity/distinct_3"] == pytest.approx(1 / 4)
    assert found["diversity/self_similarity"] == 1.0
    assert found["diversity/unique"] == pytest.approx(1 / 4)


def test_prompts_without_a_common_word_are_as_rich_as_can_be():
    found = diversity(["a b c", "d e f"], lambda prompt: prompt == "a b c", 0, 1)
    assert found["diversity/distinct_1"] == found["diversity/distinct_2"] == 1.0
    assert found["diversity/self_similarity"] == 0.0
    assert found["diversity/held_out"] == 0.5


def test_short_prompts_have_no_long_ngrams():
    assert diversity(["a", "b"], never, 0)["diversity/distinct_3"] == 0.0


def test_many_prompts_are_sampled_by_key():
    tokens = [[str(i), str(i // 2), "a"] for i in range(PAIRS)]
    assert self_similarity(tokens, 0, 1) == self_similarity(tokens, 0, 1)
    assert self_similarity(tokens, 0, 1) == pytest.approx(0.2, abs=0.01)


def test_a_gain_is_paired():
    mean, half = gain([0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0])
    assert mean == 0.25
    assert half == pytest.approx(1.96 * 0.5 / 2)
    assert gain([0.0, 1.0], [1.0, 2.0]) == (1.0, 0.0)


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match="3 outcomes before and 2 after cannot be paired"):
        gain([0.0] * 3, [0.0] * 2)
