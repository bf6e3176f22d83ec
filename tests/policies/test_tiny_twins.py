"""A scene and its twin differ in one thing, and a question tells them apart."""

from __future__ import annotations

import pytest

from policies.seeds import generator
from policies.tiny.world.language import CATEGORIES, is_held_out, sample_prompt
from policies.tiny.world.oracle import all_right, read_facts
from policies.tiny.world.questions import questions
from policies.tiny.world.render import render, sample_scene
from policies.tiny.world.twins import present, twin

EACH = 12


def prompts(category: str):
    return [sample_prompt(generator("twins", category, i), category) for i in range(EACH)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_twin_has_one_other_fact_and_another_answer_to_the_same_question(category: str) -> None:
    found = [(p, twin(p, generator("twin", i))) for i, p in enumerate(prompts(category))]
    told = [(prompt, other) for prompt, other in found if other is not None]
    assert len(told) >= EACH // 2
    for prompt, other in told:
        assert is_held_out(other.prompt.text)
        assert len(set(other.prompt.facts) - set(prompt.facts)) == 1
        assert other.original in questions(prompt)
        assert other.original.text == other.other.text
        assert other.original.answer != other.other.answer
        scenes = [render(sample_scene(p, generator("scene"))) for p in (prompt, other.prompt)]
        assert all_right(scenes[0], prompt) and all_right(scenes[1], other.prompt)
        # What the one shows is wrong for the other.
        assert not all_right(scenes[0], other.prompt) and not all_right(scenes[1], prompt)


def test_many_kinds_of_facts_are_changed() -> None:
    kinds = set()
    for category in CATEGORIES:
        for i, prompt in enumerate(prompts(category)):
            if other := twin(prompt, generator("kinds", i)):
                (fact,) = set(other.prompt.facts) - set(prompt.facts)
                kinds.add(fact.kind)
    assert {"color", "count", "relation", "style", "letter", "flag"} <= kinds


def test_a_shape_that_is_there_is_not_in_the_twin() -> None:
    there = 0
    for category in CATEGORIES:
        for i, prompt in enumerate(prompts(category)):
            if (other := present(prompt, generator("present", i))) is None:
                continue
            there += 1
            assert (other.original.answer, other.other.answer) == ("yes", "no")
            (shape,) = [
                w for w in other.original.text.split() if w not in ("is", "there", "a", "?")
            ]
            shapes = [
                {each.kind for each in sample_scene(p, generator("scene")).objects}
                for p in (prompt, other.prompt)
            ]
            assert shape in shapes[0] and shape not in shapes[1]
            assert not prompt.value("absent", "scene")
    assert there > EACH


def test_a_relation_is_asked_for_with_the_options_of_the_original() -> None:
    """What is right for the twin is among them, and the oracle agrees."""
    asked = 0
    for i in range(60):
        prompt = sample_prompt(generator("relations", i), "object relations")
        other = twin(prompt, generator("relation", i))
        if other is None or other.original.kind != "choice":
            continue
        asked += 1
        assert {other.original.answer, other.other.answer} <= set(other.original.options)
        relation = next(f for f in other.prompt.facts if f.kind == "relation")
        assert relation.value == other.other.answer
        shown = render(sample_scene(other.prompt, generator("shown", i)))
        assert all(read_facts(shown, other.prompt))
    assert asked > 2
