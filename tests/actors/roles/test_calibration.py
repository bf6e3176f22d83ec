"""The probability that a drawing is right, fitted on what is right and wrong by construction."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.roles.calibration import Fit, Trust, fitted, score_of, trust_of
from policies.seeds import generator

finite = st.floats(-50, 50, allow_nan=False)
chances = st.floats(0, 1)


def drawn(weights: list[float], bias: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and labels that are true with the probability that these weights give."""
    random = generator("calibration", count)
    rows = random.normal(loc=2.0, scale=3.0, size=(count, len(weights)))
    chance = 1 / (1 + np.exp(-(rows @ weights + bias)))
    return rows, random.random(count) < chance


def test_a_fit_finds_the_weights_that_the_labels_come_from() -> None:
    weights, bias = [0.8, -0.3, 0.0], 0.5
    rows, labels = drawn(weights, bias)
    fit = fitted(("a", "b", "c"), rows.tolist(), labels.tolist())
    assert fit.weights == pytest.approx(weights, abs=0.05)
    assert fit.bias == pytest.approx(bias, abs=0.1)
    assert fit == fitted(("a", "b", "c"), rows.tolist(), labels.tolist())


def test_probabilities_are_as_often_true_as_they_say() -> None:
    rows, labels = drawn([0.8, -0.3], 0.5)
    fit = fitted(("a", "b"), rows[:10_000].tolist(), labels[:10_000].tolist())
    said = np.array([fit.probability(row) for row in rows[10_000:].tolist()])
    for low in np.arange(0, 1, 0.2):
        inside = (said >= low) & (said < low + 0.2)
        assert labels[10_000:][inside].mean() == pytest.approx(said[inside].mean(), abs=0.05)


def test_signals_that_tell_all_apart_and_those_that_never_change_keep_weights_finite() -> None:
    rows = [[float(i), 7.0] for i in range(40)]
    fit = fitted(("a", "same"), rows, [i >= 20 for i in range(40)])
    assert 0 < fit.weights[0] < 100 and fit.weights[1] == 0
    assert fit.probability([15, 7]) < 0.1 < 0.9 < fit.probability([25, 7])
    assert fit.probability([19.5, 7]) == pytest.approx(0.5)


@given(st.lists(st.tuples(finite, finite, st.booleans()), min_size=2, max_size=40))
def test_any_rows_with_both_labels_give_a_fit(made: list[tuple[float, float, bool]]) -> None:
    labels = [label for *_, label in made]
    if len(set(labels)) < 2:
        return
    rows = [[a, b] for a, b, _ in made]
    fit = fitted(("a", "b"), rows, labels)
    said = [fit.probability(row) for row in rows]
    assert all(0 <= each <= 1 for each in said)
    # The ridge holds no bias, so that the mean is that of the labels.
    assert np.mean(said) == pytest.approx(np.mean(labels), abs=1e-3)


@given(finite, finite, st.floats(1, 1e300))
def test_a_probability_lies_within_its_bounds_however_large_the_signal(
    weight: float, bias: float, signal: float
) -> None:
    fit = Fit(("a",), (weight,), bias)
    up, down = fit.probability([signal]), fit.probability([-signal])
    assert 0 <= up <= 1 and 0 <= down <= 1
    assert (up >= down) == (weight >= 0) or up == down


@given(chances, chances, st.floats(0.01, 0.99), st.floats(0.1, 9.9))
def test_a_score_rises_with_the_probability_and_accepts_at_the_least(
    one: float, other: float, least: float, accept_at: float
) -> None:
    low, high = (score_of(p, least, accept_at) for p in sorted((one, other)))
    assert 0 <= low <= high <= 10
    assert score_of(least, least, accept_at) == accept_at
    if one > least or one < least * (1 - 1e-9):
        assert (score_of(one, least, accept_at) >= accept_at) == (one > least)


@given(st.lists(st.tuples(st.text(max_size=3), finite), max_size=4), finite)
def test_what_is_kept_is_read_back(made: list[tuple[str, float]], bias: float) -> None:
    fit = Fit(tuple(name for name, _ in made), tuple(weight for _, weight in made), bias)
    for trust in (Trust(fit, (("counting", "why"),)), Trust()):
        assert trust_of(json.loads(json.dumps(trust.row()))) == trust


def test_a_row_that_is_no_trust_is_refused() -> None:
    for row in ({}, {"fit": {"signals": ["a"], "weights": [], "bias": 0}, "rejected": []}):
        with pytest.raises((ValueError, KeyError)):
            trust_of(row)
