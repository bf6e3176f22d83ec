"""BAGEL's training pass against the reference's own tensors (tests/golden/bagel_tiny)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.bagel.sequence import packed
from policies.flow import learning_times
from policies.flowing.masks import dense
from tests.policies.bagel.golden import (
    close,
    form,
    module,
    numbers,
    tensors,
    training_samples,
)

SHIFTS = {"train": 1.0, "train_shift4": 4.0}


def in_order(streams: tuple[Tensor, ...], places: tuple[Tensor, ...], length: int) -> Tensor:
    """[places, hidden] from the tokens of both experts."""
    whole = torch.zeros(length, streams[0].shape[1])
    for index, part in zip(places, streams):
        whole[index] = part
    return whole


def test_the_packed_row_is_the_references() -> None:
    given, lengths = tensors("train"), numbers("train")["sample_lens"]
    batch = packed(training_samples("train")[0], form())
    for name, found in (
        ("position_ids", batch.positions[0]),
        ("text_ids", batch.words),
        ("text_indexes", batch.word_places),
        ("vit_token_indexes", batch.patch_places),
        ("vit_position_ids", batch.patch_spots),
        ("vae_token_indexes", batch.latent_places),
        ("latent_position_ids", batch.latent_spots),
        ("label_ids", batch.labels),
        ("vit_tokens", batch.patches),
        ("timesteps", batch.times[batch.owners]),
    ):
        assert torch.equal(found, given[f"in_packed_{name}"]), name
    assert torch.equal(batch.word_places[batch.scored], given["in_ce_loss_indexes"])
    assert torch.equal(batch.latent_places[batch.drawn], given["in_mse_loss_indexes"])
    mask = dense(batch.sight)
    assert mask is not None
    blocks = [given[f"in_mask_{i}"] == 0 for i in range(len(lengths))]
    assert torch.equal(mask[0, 0], torch.block_diag(*blocks).bool())


@pytest.mark.parametrize("name", list(SHIFTS))
def test_times(name: str) -> None:
    raw = tensors("train")["in_packed_timesteps_raw"]
    close(learning_times(raw, SHIFTS[name]), tensors(name)["in_packed_timesteps"], 1e-6)


def test_embeddings_features_states_and_logits() -> None:
    given, model = tensors("train"), module().requires_grad_(False)
    batch = packed(training_samples("train")[0], form()).on("cpu")
    x, seats = model.embed(batch)
    close(in_order(x, seats.places, 181), given["out_packed_sequence"])
    seen = model.connector(model.vit_model(batch.patches, batch.patch_spots, batch.counts))
    close(seen, given["out_vit_connector"])
    states = model.read(batch)
    close(in_order(states, seats.places, 181), given["out_last_hidden_state"])
    close(model.language_model.lm_head(states[0][: len(batch.words)]), given["out_logits"])


@pytest.mark.parametrize("name", list(SHIFTS))
def test_losses_and_gradients(name: str) -> None:
    wanted, said = tensors(name), numbers(name)
    samples, target = training_samples(name)
    model = module()
    batch = packed(samples, form()).on("cpu")
    logits, velocities = model(batch)
    ce = F.cross_entropy(logits, batch.labels, reduction="none")
    mse = (velocities - target) ** 2
    close(ce, wanted["out_ce"])
    close(mse, wanted["out_mse"])
    close(velocities, wanted["out_velocity"])
    assert ce.mean().item() == pytest.approx(said["ce_mean"], abs=1e-5)
    assert mse.mean().item() == pytest.approx(said["mse_mean"], abs=1e-5)
    (ce.mean() + mse.mean()).backward()
    learning = dict(model.named_parameters())
    for key, norm in said["grad_norm"].items():
        if key.endswith("pos_embed"):
            assert key not in learning
            continue
        grad = learning.pop(key).grad
        assert grad is not None and grad.norm().item() == pytest.approx(norm, abs=1e-4), key
    assert not learning
    if name == "train":
        layer, language = model.language_model.model.stack()[0].self_attn, model.language_model
        for key, weight in (
            ("l0_k_proj", layer.k_proj.weight),
            ("l0_q_proj_moe_gen", layer.q_proj_moe_gen.weight),
            ("llm2vae", model.llm2vae.weight),
            ("lm_head", language.lm_head.weight),
        ):
            close(weight.grad, wanted[f"out_grad_{key}"])
