"""The parts of which the toy is made: its words, its encoder, its optimizer, its lessons."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from policies.bagel.checkpoint import Loaded
from policies.bagel.policy import BagelPolicy
from policies.bagel.samples import Noise, Text
from policies.bagel.toy import learning, model, patches
from policies.convolutions import Block, Glance, pass_over_idle
from policies.interface import Example, learned
from policies.pretraining.muon import orthogonal
from policies.pretraining.scenes import KINDS, pixels_of, vocabulary
from policies.tiny import lessons
from policies.tiny.world.language import sample_prompt


@pytest.fixture(scope="module")
def new() -> Loaded:
    return model.new(vocabulary(), seed=3)


@pytest.fixture(scope="module")
def scenes(new: Loaded) -> list[lessons.Scene]:
    rng = np.random.default_rng(0)
    made = [lessons.scene(rng, KINDS[i % len(KINDS)]) for i in range(120)]
    patches.fit(new.autoencoder, pixels_of([each.picture.pixels for each in made]))
    return made


def test_every_text_is_read_back(new: Loaded) -> None:
    rng = np.random.default_rng(0)
    told = [sample_prompt(rng) for _ in range(300)]
    records = [
        json.dumps({"major_category": p.category, "subcategory": p.subcategory, "prompt": p.text})
        for p in told
    ]
    others = ["", " ", "a  Cirlce ö→猫 ", "<|im_start|>", '{"score": 10}', '"}"}', "\n\ttabs"]
    for text in (*(prompt.text for prompt in told), *records, *others):
        ids = new.tokenizer.encode(text, add_special_tokens=False).ids
        assert new.tokenizer.decode(ids) == text
        assert not set(ids) & {new.form.bos, new.form.eos, new.form.start, new.form.end}


def test_a_known_word_is_one_token(new: Loaded) -> None:
    for text, count in (
        ("a red circle", 3),
        ('{"score": 10}', 3),
        ('the word " c a t " in red', 9),
    ):
        assert len(new.tokenizer.encode(text, add_special_tokens=False).ids) == count


def test_latents_are_those_of_their_own_patch(new: Loaded, scenes: list[lessons.Scene]) -> None:
    pixels = pixels_of([each.picture.pixels for each in scenes])
    changed = pixels.clone()
    changed[:, :, :8, :8] = 0.0
    with torch.no_grad():
        before, after = new.autoencoder.encode(pixels), new.autoencoder.encode(changed)
    moved = (before - after).abs().amax((0, 1))
    assert float(moved[0, 0]) > 1 and float(moved.flatten()[1:].max()) < 0.05
    assert abs(float(before.std()) - 1) < 0.05


def test_passing_over_idle_blocks_changes_nothing(new: Loaded, scenes: list[lessons.Scene]) -> None:
    pixels = pixels_of([each.picture.pixels for each in scenes[:2]])
    parts = [part for part in new.autoencoder.modules() if isinstance(part, Block | Glance)]
    assert all(part.idle for part in parts)
    with torch.no_grad():
        passed = new.autoencoder.decode(new.autoencoder.encode(pixels))
        for part in parts:
            part.idle = False
        whole = new.autoencoder.decode(new.autoencoder.encode(pixels))
    pass_over_idle(new.autoencoder)
    assert torch.equal(whole, passed)


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 8, 8)])
def test_steps_of_matrices_are_nearly_orthogonal(shape: tuple[int, int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(x))
    assert float(values.min()) > 0.3 and float(values.max()) < 1.3


def test_a_drawing_is_learned_by_copies_at_times_of_their_own(
    new: Loaded, scenes: list[lessons.Scene]
) -> None:
    layout = BagelPolicy(new).layout
    scene = next(each for each in scenes if not each.spoilt and not each.wordless)
    drawing = Example(("a red circle",), learned(scene.picture), "generation")
    wordless = Example(("",), learned(scene.picture), "generation")
    for example, texts in ((drawing, {0, 1}), (wordless, {0})):
        made = [learning.lesson(layout, example, 3.0, np.random.default_rng(i)) for i in range(40)]
        for each in made:
            noisy = [split for split in each.sample if isinstance(split, Noise)]
            assert len({split.time for split in noisy}) == learning.COPIES
            assert each.velocities.shape == (36 * learning.COPIES, 16)
        assert {sum(isinstance(s, Text) for s in each.sample) for each in made} == texts
