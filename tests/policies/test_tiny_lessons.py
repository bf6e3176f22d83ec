"""What the base is taught: no held-out prompt is shown, and drawing alone is taught loosely.

Invariant: as the lessons, every test follows from its generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
import torch

from policies.interface import Example, Picture, learned
from policies.pretraining.scenes import KINDS
from policies.tiny import lessons, pretrain
from policies.tiny.policy import TinyPolicy
from policies.tiny.world.language import Prompt, is_held_out, parse
from policies.tiny.world.mixing import mixed_up
from tests.policies.tiny import small

LESSONS = 3000


@pytest.fixture(scope="module")
def scenes() -> list[lessons.Scene]:
    rng = np.random.default_rng(0)
    kinds = KINDS
    return [lessons.scene(rng, kinds[i % len(kinds)]) for i in range(600)]


@pytest.fixture(scope="module")
def taught(scenes: list[lessons.Scene]) -> list[tuple[lessons.Scene, Example]]:
    rng = np.random.default_rng(1)
    chosen = [scenes[i] for i in rng.integers(len(scenes), size=LESSONS)]
    return [(scene, lessons.lesson(scene, rng)) for scene in chosen]


def prompts_in(example: Example) -> Iterator[Prompt]:
    for part in (*example.context, *(each.segment for each in example.target)):
        if isinstance(part, str):
            with suppress(ValueError):
                yield parse(part)


def test_no_held_out_prompt_is_ever_shown(
    taught: list[tuple[lessons.Scene, Example]],
) -> None:
    shown = [prompt for _, example in taught for prompt in prompts_in(example)]
    assert len(shown) > LESSONS / 2
    assert not [prompt.text for prompt in shown if is_held_out(prompt.text)]


def test_a_picture_of_anything_is_shown_without_words(
    taught: list[tuple[lessons.Scene, Example]],
) -> None:
    silent = [(scene, example) for scene, example in taught if scene.wordless]
    assert all(example.context == ("",) for _, example in silent)
    assert any(is_held_out(scene.prompt.text) for scene, _ in silent)


def test_half_of_the_drawings_that_can_be_are_mixed_up_and_no_caption_is(
    taught: list[tuple[lessons.Scene, Example]],
) -> None:
    drawn = [
        (mixed_up(scene.prompt), scene.prompt.text, example.context[0])
        for scene, example in taught
        if example.pattern == "generation" and not scene.wordless
    ]
    told = [said == text for other, text, said in drawn if other is not None]
    assert abs(np.mean(told) - 0.5) < 0.06
    assert all(said in (text, other and other.text) for other, text, said in drawn)
    captions = [
        example.target == learned(scene.prompt.text)
        for scene, example in taught
        if example.context[-1] == "describe"
    ]
    assert captions and all(captions)


def test_a_malformed_drawing_teaches_the_judge_alone(
    taught: list[tuple[lessons.Scene, Example]],
) -> None:
    patterns = {example.pattern for scene, example in taught if scene.spoilt}
    assert patterns == {"judgement"}


def test_codes_are_learned_wherever_they_stand_and_words_only_as_targets() -> None:
    policy = small()
    size = policy.vision.config.size
    picture = Picture(np.zeros((size, size, 3), np.uint8))
    drawing, caption = (
        Example(("a",), learned(picture), "generation"),
        Example((picture, "a"), learned("a"), "caption"),
    )
    made = pretrain.targets(policy, policy.layout.sequences([drawing, caption]))
    tokens = policy.vision.config.tokens
    assert made["image"].sum(1).tolist() == [tokens, tokens]
    # <image>, </image> and </s> of the drawing; the word and </s> of the caption.
    assert made["text"].sum(1).tolist() == [3, 2]
    assert not (made["image"] & made["text"]).any()
    assert torch.equal(made["ids"][:, 1:], made["next"][:, :-1])


def test_what_is_saved_are_the_sums_of_own_and_shared_parts() -> None:
    policy = small()
    before = policy.module.embed.weight.detach().clone()
    pretrain.share_digits(policy, seed=1)
    saved: TinyPolicy = pretrain.plain(policy)
    codes = policy.text.code_offset
    assert set(saved.weights()) == set(small().weights())
    assert torch.equal(saved.module.embed.weight, policy.module.embed.weight)
    assert torch.equal(saved.module.embed.weight[:codes], before[:codes])
    assert not torch.equal(saved.module.embed.weight[codes:], before[codes:])
