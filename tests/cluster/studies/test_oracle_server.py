"""The teacher of the UniCorn* study in the tiny world: what it answers, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.oracle_server import answered
from policies.seeds import generator
from policies.tiny.world.language import CATEGORIES, is_held_out, parse, sample_prompt
from policies.tiny.world.render import render, sample_scene

NOTHING = np.zeros((48, 48, 3), np.uint8)


@pytest.mark.parametrize("category", CATEGORIES)
def test_it_proposes_what_is_asked_for_and_never_what_measures(category: str) -> None:
    for seed, subcategory in enumerate(CATEGORIES[category]):
        said = answered([f"propose {category} , {subcategory}"], None, seed)
        assert (said["major_category"], said["subcategory"]) == (category, subcategory)
        assert parse(said["prompt"]) and not is_held_out(said["prompt"])


def test_it_judges_by_the_pixels() -> None:
    rng = generator("oracle server's test")
    for _ in range(20):
        prompt = sample_prompt(rng)
        right = answered(["judge", prompt.text], render(sample_scene(prompt, rng)), 0)
        wrong = answered(["judge", prompt.text], NOTHING, 0)
        assert right["score"] == 10 > wrong["score"] and "no" in wrong["analysis"].split()


def test_what_a_model_wrote_that_is_no_prompt_is_drawn_by_nothing() -> None:
    assert answered(["judge", "a the of"], NOTHING, 0) == {"analysis": "no", "score": 0}


@pytest.mark.parametrize("texts", [["draw a cat"], ["judge", "a red circle"], []])
def test_anything_else_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="is no request"):
        answered(texts, None, 0)
