"""BAGEL's writing, drawing and autoencoder against the reference's own tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from policies.bagel.module import BagelModule
from policies.bagel.samples import Latents, Sample, Text
from policies.flow import PLAIN, WITHOUT_PICTURES, WITHOUT_TEXT, Guidance, solve, times
from policies.flowing.drawing import Contexts, Drawings
from policies.flowing.latents import patches_of, picture_of
from policies.flowing.writing import Writer
from policies.sampling import Row, Sampled, sample
from tests.policies.bagel.golden import (
    autoencoder,
    close,
    features,
    form,
    module,
    tensors,
)

VARIANTS = {
    "text4_global": (1.0, "global", 0.0),
    "text4_global_min1": (1.0, "global", 1.0),
    "text4_channel": (1.0, "channel", 0.0),
    "text4_img2_global": (2.0, "global", 0.0),
    "text4_img2_text_channel": (2.0, "text_channel", 0.0),
}
GRIDS = {"t2i": (3, 4), "edit": (4, 2)}
SAMPLED = {
    "t2i": Guidance(*torch.tensor([[4.0], [1.0], [0.4], [1.0]]), ["global"]),
    "edit": Guidance(*torch.tensor([[4.0], [1.5], [0.4], [1.0]]), ["global"]),
}


@pytest.fixture(scope="module")
def model() -> BagelModule:
    return module().requires_grad_(False)


def contexts(kind: str) -> list[Sample]:
    """The whole context, that without text and that without pictures."""
    given = tensors(kind)
    text = Text(given["prompt_ids"].tolist())
    if kind == "t2i":
        return [[text], [], [text]]
    latents = Latents(patches_of(given["vae_latent"][0], 2), GRIDS[kind])
    pictures = [latents, features(given["image_vit"])]
    return [[*pictures, text], pictures, [text]]


def drawings(model: BagelModule, kind: str) -> Drawings:
    read = Contexts(model, form(), contexts(kind))
    return Drawings(model, form(), read, torch.arange(3)[:, None], [GRIDS[kind]])


def test_greedy_writing_and_its_cache(model: BagelModule) -> None:
    given = tensors("und")
    context: Sample = [features(given["image"]), Text(given["prompt_ids"].tolist())]
    read = Contexts(model, form(), [context])
    assert read.cache.used == given["context_kv_len"].item()
    assert read.ends == tuple(given["context_rope"].tolist())
    for found, name in zip(read.cache.blocks[1], ("k", "v")):
        close(found[0].transpose(0, 1), given[f"out_{name}_cache_l1"])
    written = written_after(model, [context])
    close(torch.from_numpy(written.logits[0]), given["out_logits"])
    # The reference's list begins with the word that its first logits come after.
    assert [150, *written.tokens[0][:7].tolist()] == given["out_tokens"].tolist()


def test_a_row_is_written_as_if_alone(model: BagelModule) -> None:
    given = tensors("und")
    context: Sample = [features(given["image"]), Text(given["prompt_ids"].tolist())]
    written = written_after(model, [[Text([7, 8, 9])], context])
    close(torch.from_numpy(written.logits[1]), given["out_logits"])


def written_after(model: BagelModule, samples: list[Sample]) -> Sampled:
    """Eight greedy words after each."""
    writer = Writer(model, form(), samples)
    rows = [Row((i,), 0.0, 1.0, 0, 8) for i in range(len(samples))]
    return sample(writer.prefill, writer.head, rows, 0, None, keep_logits=True)


@pytest.mark.parametrize("kind", list(GRIDS))
def test_branches_and_every_guidance(model: BagelModule, kind: str) -> None:
    given, draw = tensors(kind), drawings(model, kind)
    x, t = given["x_t"][None], given["t"][None]
    found = draw(x, t, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    for branch, name in ((PLAIN, "cond"), (WITHOUT_TEXT, "text_uncond")):
        close(found[branch], given[f"out_v_{name}"])
    close(found[WITHOUT_PICTURES], given["out_v_img_uncond"])
    for name, (pictures, renorm, floor) in VARIANTS.items():
        how = torch.tensor([[4.0], [pictures], [0.0], [1.0]])
        guidance = Guidance(*how, [renorm], floor)
        plain, text, without = found.split(1)
        close(guidance.guided(plain, text, without, t)[0], given[f"out_v_{name}"])


@pytest.mark.parametrize("kind", list(GRIDS))
def test_whole_drawings(model: BagelModule, kind: str) -> None:
    given, noise = tensors(kind), first_noise(kind)
    found = solve(drawings(model, kind), noise, times(5, torch.tensor([3.0])), SAMPLED[kind])[0]
    close(found, given["out_final_latent_tokens"])
    decoded = autoencoder().decode(picture_of(found, GRIDS[kind], 2)[None])[0]
    close(decoded, given["out_image"])


def first_noise(kind: str) -> Tensor:
    return tensors(kind)["x_t"][None]


def test_the_autoencoder() -> None:
    given, model = tensors("vae_io"), autoencoder()
    close(model.encoder(given["x"]), given["out_moments"])
    latents = model.encode(given["x"])
    close(latents, given["out_latent_mean_scaled"])
    close(model.decode(latents), given["out_decode"])


def test_the_autoencoders_posterior() -> None:
    given, edit, model = tensors("train"), tensors("edit"), autoencoder()
    found = model.encode(given["in_padded_images"], given["in_vae_encode_eps"])
    close(found, given["in_padded_latent"])
    close(model.encode(edit["image_vae"][None], edit["vae_eps"]), edit["vae_latent"])
