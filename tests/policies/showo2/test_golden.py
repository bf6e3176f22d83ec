"""What the public code of Show-o2 makes of the same weights, ids, latents and times: see `golden`."""

from __future__ import annotations

import torch
from torch import Tensor

from policies import flow
from policies.flowing.drawing import Contexts, Drawings
from policies.flowing.latents import patches_of, picture_of
from policies.flowing.masks import dense
from policies.flowing.writing import Writer
from policies.interface import Picture
from policies.sampling import Row, sample
from policies.showo2.module import Reading
from policies.showo2.samples import Sample, Shown, Words
from policies.showo2.sequence import padded
from tests.policies.showo2.golden import (
    ANSWER,
    PROMPTS,
    QUESTION,
    close,
    config,
    layout,
    module,
    normal,
    tensors,
)

GRID = (3, 3)


def shown(latents: Tensor, time: float) -> Shown:
    """At the released model's time, which counts from the noise."""
    grid = (latents.shape[1] // 2, latents.shape[2] // 2)
    return Shown(patches_of(latents, 2), grid, 1 - time, drawn=True)


def contexts() -> list[Sample]:
    """Of both prompts, then of none."""
    told = [layout().context((prompt,), drawing=True) for prompt in PROMPTS]
    return [*told, *[layout().context((prompt,), True, {"text"}) for prompt in PROMPTS]]


def ids_of(sample: Sample) -> list[int]:
    return [i for split in sample if isinstance(split, Words) for i in split.ids]


def clean() -> Picture:
    latents = normal("clean", 2, 16, 6, 6)[0]
    return Picture(torch.zeros(48, 48, 3, dtype=torch.uint8).numpy(), None, latents)


def drawn_back(velocities: Tensor) -> Tensor:
    """float [tokens, values] of one drawing -> [channels, height, width], as released."""
    return -picture_of(velocities, GRID, 2)


def test_a_drawing_begins_with_the_released_ids() -> None:
    for name, samples in (("ids", contexts()[:2]), ("null", contexts()[2:])):
        for row, made in zip(tensors()[f"t2i.{name}"].tolist(), samples, strict=True):
            assert row[: len(ids_of(made))] == ids_of(made)
            assert len(set(row[len(ids_of(made)) :][:10])) == 1  # the placeholders of the picture
    assert tensors()["t2i.positions"][:, 0, 0].tolist() == [len(ids_of(s)) for s in contexts()[:2]]


def test_places_see_what_they_see_as_released() -> None:
    z = normal("t2i", 2, 16, 6, 6)
    samples = [[*made, shown(z[0], 0.3)] for made in contexts()]
    batch = padded(samples, config())
    seen, wanted = dense(batch.sight), tensors()["t2i.sees"]
    assert seen is not None
    for row, made in enumerate(samples):
        used = sum(split.places for split in made)
        assert torch.equal(seen[row, 0, :used, :used], wanted[row, :used, :used])


@torch.inference_mode()
def test_velocities_and_logits_of_a_step() -> None:
    z, times = normal("t2i", 2, 16, 6, 6), (0.3, 0.7, 0.3, 0.7)
    samples = [[*made, shown(z[i % 2], times[i])] for i, made in enumerate(contexts())]
    found = module()(padded(samples, config()).on("cpu")).velocities.view(4, 9, -1)
    for ours, theirs in zip(found, tensors()["t2i.velocities"], strict=True):
        close(drawn_back(ours), theirs)
    told = [
        [Words(ids_of(made)[:1]), Words(ids_of(made)[1:8], learned=True)] for made in contexts()[:2]
    ]
    logits = module()(padded(told, config()).on("cpu")).logits.view(2, 7, -1)
    close(logits, tensors()["t2i.logits"][:, :7])


@torch.inference_mode()
def test_steps_of_a_guided_drawing() -> None:
    z = normal("t2i", 2, 16, 6, 6)
    read = Contexts(module(), layout().form, contexts())
    of = torch.tensor([[0, 1], [2, 3], [0, 0]])
    drawings = Drawings(module(), layout().form, read, of, [GRID, GRID])
    guidance = flow.Guidance(*(torch.tensor([x, x]) for x in (5.0, 1.0, 0.0, 1.0)), ["none"] * 2)
    noise = torch.stack([patches_of(each, 2) for each in z])
    at = flow.times(4, torch.tensor([3.0, 3.0]))  # the released 5 times are 4 steps
    first = flow.solve(drawings, noise, at[:2], guidance)
    close(torch.stack([picture_of(x, GRID, 2) for x in first]), tensors()["t2i.first_step"])
    found = flow.solve(drawings, noise, at, guidance)
    close(torch.stack([picture_of(x, GRID, 2) for x in found]), tensors()["t2i.sampled"])


def test_times_are_learned_as_released() -> None:
    raw = tensors()["times.normal"]
    for tokens in (730, 1025, 4097):
        # A grid of so many tokens: the released count has the time among them.
        shift = layout().shift((tokens - 1, 1))
        close(1 - flow.learning_times(-raw, shift), tensors()[f"times.{tokens}"], 1e-6)


def test_the_loss_of_drawings() -> None:
    x1, x0 = normal("clean", 2, 16, 6, 6), normal("noise", 2, 16, 6, 6)
    samples, wanted = [], []
    for i, (made, time) in enumerate(zip(contexts()[:2], (0.25, 0.6))):
        mixed = flow.noisy(x1[i], x0[i], torch.tensor(1 - time))
        samples.append([*made, shown(mixed, time)])
        wanted.append(flow.target(patches_of(x1[i], 2), patches_of(x0[i], 2)))
    found = module()(padded(samples, config(), whole=False).on("cpu")).velocities
    close((found - torch.cat(wanted)).square().mean(), tensors()["train.flow"])


@torch.inference_mode()
def test_a_question_about_a_picture() -> None:
    context = layout().context((clean(), QUESTION), drawing=False)
    before, _, _, eoi, *after = context
    assert before.ids == tuple(tensors()["mmu.ids_before"].tolist())
    told = [*ids_of([eoi, *after]), layout().form.begin]
    assert told == tensors()["mmu.ids_after"].tolist()
    samples = [[*context, *layout().answer(ANSWER)]]
    read = module()(padded(samples, config()).on("cpu"))
    close(read.logits[0], tensors()["mmu.logits.as_trained"][-1])
    ids = samples[0][-1].ids
    scored = read.logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
    close(scored, tensors()["mmu.log_probs"])


def test_an_answer_is_written_as_released() -> None:
    """With the mask of training. The released script of this demonstration has it one place too far,
    so that there the time does not see the picture and the mark after the picture is seen by it."""
    writer = Writer(
        Reading(module()), layout().form, [layout().context((clean(), QUESTION), False)]
    )
    rows = [Row((0,), 0.0, 1.0, 0, 6)]
    written = sample(writer.prefill, writer.head, rows, 0, layout().form.eos).tokens[0]
    assert written.tolist() == tensors()["mmu.greedy.as_trained"].tolist()[: len(written)]


@torch.inference_mode()
def test_a_picture_after_a_picture() -> None:
    made = layout().context((PROMPTS[0], clean(), QUESTION), drawing=True)
    ids = tensors()["two.ids"].tolist()
    assert [i for i in ids if i != 260] == [*ids_of(made), layout().form.eoi]
    z = normal("t2i", 2, 16, 6, 6)[0]
    found = module()(padded([[*made, shown(z, 0.4)]], config()).on("cpu")).velocities
    close(drawn_back(found), tensors()["two.velocity"])


@torch.inference_mode()
def test_a_picture_of_another_shape() -> None:
    wide = normal("wide", 1, 16, 4, 8)[0]
    samples = [[*layout().context((PROMPTS[0],), True), shown(wide, 0.45)]]
    found = module()(padded(samples, config()).on("cpu")).velocities
    close(-picture_of(found, (2, 4), 2), tensors()["wide.velocity"][0])


@torch.inference_mode()
def test_the_autoencoder_of_single_frames() -> None:
    pixels = normal("pixels", 2, 3, 16, 24).clamp(-1, 1)
    close(layout().autoencoder.encode(pixels), tensors()["vae.latents"])
    latents = normal("latents", 2, 16, 2, 3)
    close(layout().autoencoder.decode(latents), tensors()["vae.pixels"])
