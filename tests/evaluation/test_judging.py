"""A Judge's drift is its distance from the base, and its agreement a correlation."""

from __future__ import annotations

import pytest

from evaluation.judging import JUDGED, correlation, drift, fixed_set
from evaluation.suites import load_suite

SUITE = load_suite("tiny_world")


def test_drift_is_the_mean_distance_of_what_both_scored():
    assert drift([1.0, None, 9.0, 5.0], [3.0, 4.0, None, 5.0]) == 1.0
    assert drift([2.0], [2.0]) == 0.0
    assert drift([None], [2.0]) is None


def test_correlation_needs_both_sides_to_vary():
    assert correlation([(1.0, 0.1), (2.0, 0.2), (3.0, 0.3)]) == pytest.approx(1.0)
    assert correlation([(1.0, 0.3), (3.0, 0.1)]) == pytest.approx(-1.0)
    assert correlation([(1.0, 0.3), (1.0, 0.1)]) is None
    assert correlation([(1.0, 0.3)]) is None


def test_half_of_the_fixed_set_is_right():
    scenes = SUITE.scenes(2 * JUDGED, 3)
    fixed = fixed_set(SUITE, scenes)
    assert len(fixed) == JUDGED
    right = [SUITE.verdict(picture.pixels, prompt).right for _, prompt, picture in fixed]
    assert 0.45 * JUDGED < sum(right) < 0.6 * JUDGED
    assert {category for category, _, _ in fixed} == set(SUITE.categories)


def test_fewer_scenes_than_categories_are_a_set_as_well():
    scenes = SUITE.scenes(3, 3)
    assert [prompt for _, prompt, _ in fixed_set(SUITE, scenes)] == [text for _, text in scenes]
