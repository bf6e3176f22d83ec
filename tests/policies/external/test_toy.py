"""The toy: its autoencoder, what it is taught, and the family that reads its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.suites.tiny_world import suite
from policies.bagel.policy import BagelPolicy
from policies.bagel.toy.seeing import with_latents
from policies.config import ConfigError, ExternalPolicyConfig
from policies.external.policy import ExternalPolicy
from policies.external.toy import autoencoder, learning, model
from policies.external.toy.pretrain import BAGEL
from policies.interface import (
    Example,
    ExampleKey,
    PictureSampling,
    TextSampling,
    last_picture,
    learned,
)
from policies.pretraining.scenes import KINDS
from policies.registry import footprint
from policies.tiny import lessons
from policies.tiny.world.language import is_held_out
from policies.vision_language.toy import model as language

PROMPT = "a red circle above a blue star"
World = suite()


@pytest.fixture(scope="module")
def bagel() -> BagelPolicy:
    return BagelPolicy.from_pretrained(BAGEL)


@pytest.fixture(scope="module")
def folder(bagel: BagelPolicy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has learned nothing, not even to see."""
    where = tmp_path_factory.mktemp("toys")
    language.write(where / "language", 0)
    sizes = bagel.module.config.autoencoder
    model.write(where / "external", where / "language", bagel.autoencoder, sizes, 0)
    return where / "external"


@pytest.fixture
def toy(folder: Path) -> ExternalPolicy:
    return ExternalPolicy.from_pretrained(folder)


@pytest.fixture(scope="module")
def scenes(bagel: BagelPolicy) -> list[lessons.Scene]:
    rng = np.random.default_rng(0)
    made = [lessons.scene(rng, KINDS[i % len(KINDS)]) for i in range(36)]
    return with_latents(bagel.autoencoder, made)


def test_its_autoencoder_is_that_of_the_bagel(
    toy: ExternalPolicy, bagel: BagelPolicy, scenes: list[lessons.Scene]
) -> None:
    drawn = [scene.picture for scene in scenes if not scene.spoilt][:4]
    latents = torch.stack([each.latents for each in drawn if each.latents is not None])
    assert (toy.decoder.encode(drawn) - latents).abs().max() < 1e-5
    vae, config = toy.decoder.pipe.vae, toy.decoder.pipe.vae.config
    with torch.no_grad():
        theirs = bagel.autoencoder.decode(latents)
        ours = vae.decode(latents / config.scaling_factor + config.shift_factor).sample
    assert (ours - theirs).abs().max() < 1e-5
    shown = ((ours.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(toy.decoder.decode(latents) - shown).max() < 0.51
    told = np.stack([each.pixels for each in drawn])
    assert np.abs(shown - told).mean() < 10


def test_an_autoencoder_whose_first_block_adds_something_is_refused(bagel: BagelPolicy) -> None:
    given = BagelPolicy.from_pretrained(BAGEL).autoencoder
    with torch.no_grad():
        given.get_parameter("encoder.down.0.block.0.conv2.bias").add_(1.0)
    with pytest.raises(ConfigError, match="use one whose first block adds nothing"):
        autoencoder.converted(given, bagel.module.config.autoencoder)


def test_half_of_what_can_be_mixed_up_is_and_a_tenth_has_no_text(
    scenes: list[lessons.Scene],
) -> None:
    clean = [scene for scene in scenes if not scene.spoilt and not scene.wordless]
    prompts = {id(scene.picture): scene.prompt for scene in clean}
    drawn = learning.drawn(scenes, 2000, np.random.default_rng(1))
    shown = [(text, prompts[id(seen)].text) for text, seen in drawn if id(seen) in prompts]
    untold = sum(text == "" for text, _ in shown) / len(shown)
    mixed = sum(text not in ("", prompt) for text, prompt in shown) / len(shown)
    assert 0.07 < untold < 0.13 and 0.2 < mixed < 0.4
    assert not any(is_held_out(text) for text, _ in drawn if text)
    assert all(text == "" for text, seen in drawn if id(seen) not in prompts)


def test_what_it_is_taught_of_drawings_is_what_the_policy_learns(
    toy: ExternalPolicy, scenes: list[lessons.Scene]
) -> None:
    """At the times and with the noise that the toy chose: the same error and the same gradients."""
    pictures = learning.drawn(scenes, 3, np.random.default_rng(2))
    examples = [
        Example((text,), learned(picture), "generation", ExampleKey(group=i))
        for i, (text, picture) in enumerate(pictures)
    ]
    chosen = [
        toy.decoder.schedule.noised(seen.latents, example.random("noise"))
        for example, (_, seen) in zip(examples, pictures, strict=True)
        if seen.latents is not None
    ]
    noisy, times, wanted = (torch.stack(each) for each in zip(*chosen, strict=True))
    toy.decoder.schedule.noised = lambda clean, random: next(given)  # type: ignore[method-assign]
    given = iter(chosen)
    term = toy.loss(examples)["latents"]
    (term.total / term.count).backward()
    own = {n: w.grad.clone() for n, w in toy.module.named_parameters() if w.grad is not None}
    toy.module.zero_grad()

    def same(*_: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return noisy, times, wanted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "noised", same)
        figures = learning.draw(toy, pictures, 1, np.random.default_rng(0))
    assert figures["latents"] == pytest.approx(term.total.item() / term.count, rel=1e-5)
    for name, weight in toy.module.named_parameters():
        assert (weight.grad is None) == (name not in own), name
        if weight.grad is not None:
            torch.testing.assert_close(weight.grad, own[name], rtol=1e-3, atol=1e-6)


def test_each_drawing_is_shown_at_times_of_its_own(
    toy: ExternalPolicy, scenes: list[lessons.Scene]
) -> None:
    pictures = [picture for _, picture in learning.drawn(scenes, 2, np.random.default_rng(2))]
    noisy, times, wanted = learning.noised(toy, pictures, 3, np.random.default_rng(3))
    assert noisy.shape == wanted.shape == (6, 16, 6, 6) and len(set(times.tolist())) == 6
    at = (times / toy.decoder.schedule.count)[:, None, None, None]
    assert at.min() > 0 and at.max() < 1
    clean = torch.stack(
        [each.latents for each in pictures for _ in range(3) if each.latents is not None]
    )
    torch.testing.assert_close(noisy - at * wanted, clean, rtol=0, atol=1e-5)


def test_it_writes_judges_draws_and_is_counted(toy: ExternalPolicy, folder: Path) -> None:
    (scene, *_) = World.scenes(1, 0)
    asks = [("judge", PROMPT, scene[0]), (scene[0], "describe"), ("propose counting , one kind",)]
    assert len(toy.write(asks, [TextSampling(max_tokens=4)] * 3, range(3))) == 3
    how = [PictureSampling(guidance=g) for g in (1.0, 3.0)]
    for output in toy.draw([(PROMPT,)] * 2, how, [0, 1]):
        picture = last_picture(output)
        assert picture is not None and picture.pixels.shape == (48, 48, 3)
        assert picture.latents is not None and picture.latents.shape == (16, 6, 6)
    size = footprint(ExternalPolicyConfig(path=str(folder)))
    assert size.trained == sum(array.size for array in toy.weights().values())
    assert (size.drawing, size.seen) == (model.SLOTS, 36)
