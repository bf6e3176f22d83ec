"""One forward pass: cached as whole, many rows as each alone, the flow head only where it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from policies import flow
from policies.flowing.drawing import Contexts, Drawings
from policies.flowing.writing import Writer
from policies.interface import Example, PictureSampling, learned
from policies.sampling import Row, sample
from policies.showo2.module import Reading
from policies.showo2.policy import Showo2Policy
from policies.showo2.samples import Shown, Words
from policies.showo2.sequence import padded
from tests.policies.showo2.golden import normal
from tests.policies.showo2.small import picture, write_folder, write_transfusion


@pytest.fixture(
    scope="module", params=[write_folder, write_transfusion], ids=["showo2", "transfusion"]
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("showo2")
    request.param(made, 0)
    return made


@pytest.fixture(scope="module")
def policy(folder: Path) -> Showo2Policy:
    made = Showo2Policy.from_pretrained(folder)
    with torch.no_grad():  # random weights say next to nothing
        for weight in made.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3.0)
    return made


CONTEXTS = (("a red circle",), ("a cat", picture(1), "mend it"), (), (picture(2, 48),))
GRIDS = [(2, 2), (1, 2), (3, 2), (2, 2)]


def tokens(policy: Showo2Policy) -> list[torch.Tensor]:
    values = policy.module.config.latent_values
    return [normal(f"row {i}", rows * columns, values) for i, (rows, columns) in enumerate(GRIDS)]


@torch.inference_mode()
def test_a_step_after_a_cache_is_a_pass_over_all(policy: Showo2Policy) -> None:
    module, form = policy.module, policy.layout.form
    samples = [policy.layout.context(each, drawing=True) for each in CONTEXTS]
    read = Contexts(module, form, samples)
    of = torch.arange(4).expand(3, 4)
    drawings = Drawings(module, form, read, of, GRIDS)
    x, t = torch.zeros(4, 6, module.config.latent_values), torch.tensor([0.9, 0.5, 0.1, 0.7])
    for row, own in zip(x, tokens(policy), strict=True):
        row[: len(own)] = own
    found = drawings(x, t, torch.arange(4), torch.zeros(4, dtype=torch.int64))
    whole = [
        [*made, Shown(own, grid, float(time), drawn=True)]
        for made, own, grid, time in zip(samples, tokens(policy), GRIDS, t, strict=True)
    ]
    wanted = module(padded(whole, module.config, whole=False).on("cpu")).velocities
    ours = torch.cat([row[: len(own)] for row, own in zip(found, tokens(policy), strict=True)])
    assert (ours - wanted).abs().max() < 1e-5 * wanted.abs().max().clamp(min=1)
    assert found[1, 2:].abs().max() == 0  # of padding
    for one, grid, row in zip(whole, GRIDS, found, strict=True):  # each alone
        alone = module(padded([one], module.config).on("cpu")).velocities
        assert (row[: grid[0] * grid[1]] - alone).abs().max() < 1e-5 * alone.abs().max().clamp(
            min=1
        )


def test_words_after_a_cache_have_the_logits_of_a_pass_over_all(policy: Showo2Policy) -> None:
    samples = [policy.layout.context(each, drawing=False) for each in CONTEXTS]
    writer = Writer(Reading(policy.module), policy.layout.form, samples)
    rows = [Row((i,), 0.0, 1.0, 0, 5 - i) for i in range(4)]
    written = sample(writer.prefill, writer.head, rows, 0, None, keep_logits=True)
    for made, ids, logits in zip(samples, written.tokens, written.logits, strict=True):
        begin = Words((policy.layout.form.begin,))
        whole = [*made, begin, Words(ids.tolist(), learned=True)]
        with torch.inference_mode():
            wanted = policy.module(padded([whole], policy.module.config).on("cpu")).logits
        worst = (torch.from_numpy(logits)[: len(wanted)] - wanted).abs().max()
        assert worst < 1e-5 * wanted.abs().max().clamp(min=1)


def test_drawings_together_are_those_drawn_alone(folder: Path) -> None:
    policy = Showo2Policy.from_pretrained(
        folder
    )  # sharper ones would sharpen the rounding of each step
    how = [
        PictureSampling(guidance=3.0, steps=6),
        PictureSampling(guidance=5.0, image_guidance=2.0, steps=6, size=(16, 32), renorm="global"),
        PictureSampling(steps=3),
        PictureSampling(guidance=2.0, interval=(0.2, 0.8), steps=6, size=(48, 16)),
    ]
    together = policy.draw(CONTEXTS, how, range(4))
    for i, output in enumerate(together):
        (alone,) = policy.draw([CONTEXTS[i]], [how[i]], [i])
        ours, theirs = output[0].segment.latents, alone[0].segment.latents
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max().clamp(min=1)
        assert output[0].segment.pixels.shape[:2] == tuple(8 * side for side in ours.shape[1:])


def lessons() -> Sequence[Example]:
    return (
        Example(("a red circle",), learned(picture(0)), "generation"),
        Example((picture(1), "what is it"), learned("a cat"), "generation"),
        Example(("x", picture(2, 48)), learned(picture(3, 16)), "generation"),
    )


def test_the_flow_head_reads_only_where_something_is_drawn(policy: Showo2Policy) -> None:
    samples = [policy.layout.lessons(each)[0][0] for each in lessons()]
    some, whole = (
        padded(samples, policy.module.config, whole=each).on("cpu") for each in (False, True)
    )
    assert (
        len(some.head_tokens)
        < len(whole.head_tokens)
        == sum(split.places for made in samples for split in made)
    )
    one, other = policy.module(some), policy.module(whole)
    assert torch.equal(one.logits, other.logits)
    assert (
        one.velocities - other.velocities
    ).abs().max() < 1e-5 * other.velocities.abs().max().clamp(min=1)
    texts = padded(samples[1:2], policy.module.config, whole=False)
    assert len(texts.head_tokens) == len(texts.drawn) == 0


def test_what_follows_the_time_of_a_lesson_is_its_key(policy: Showo2Policy) -> None:
    """Times are as released shifted by the drawing's size, and the velocity is that of the path."""
    one = lessons()[0]
    (((*_, shown), (velocity,)),) = policy.layout.lessons(one)
    raw = torch.tensor(one.random("flow").standard_normal((), dtype="float32"))
    assert shown.time == pytest.approx(float(flow.learning_times(raw, policy.layout.shift((2, 2)))))
    clean, _ = policy.layout.latents(one.target[0].segment)
    assert torch.allclose(shown.tokens, clean + shown.time * velocity, atol=1e-6)
    other = replace(one, key=replace(one.key, epoch=2))
    assert policy.layout.lessons(other)[0][0][-1].time != shown.time
