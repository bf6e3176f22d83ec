"""What learns has a gradient, by name, and what is frozen has none and never changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from policies.external.config import Kind
from policies.external.policy import ExternalPolicy
from policies.interface import Example, learned
from tests.policies.conformance.sharded import gradients
from tests.policies.external import small

LEARNED = {
    "queries": {"bridge.slots", "bridge.leave.weight", "bridge.leave.bias"},
    "embeddings": {"bridge.slots", "bridge.leave.weight", "bridge.leave.bias"},
    "signals": {
        "bridge.slots", "bridge.outputs", *(
            f"bridge.{name}.{kind}" for kind in ("weight", "bias") for name in (
                "enter", "leave", *(
                    f"layers.0.{each}"
                    for each in ("looking", "resting", "query", "key", "value", "out", "up", "down")
                ),
            )
        ),
    },
}  # fmt: skip
CASES: list[tuple[Kind, str]] = [
    ("queries", "frozen"), ("queries", "learned"), ("embeddings", "frozen"), ("signals", "frozen"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "decoder"), CASES)
def test_a_drawing_teaches_the_model_and_the_bridge_and_nothing_frozen(
    tmp_path: Path, kind: Kind, decoder: str
) -> None:
    small.checkpoint(tmp_path, 1, kind, decoder=decoder)
    policy = ExternalPolicy.from_pretrained(tmp_path)
    shape = (4, small.HIDDEN) if kind == "embeddings" else (small.CHANNELS, small.SIDE, small.SIDE)
    context = (small.picture(1), "a red circle")
    example = Example(context, learned(small.picture(0, shape)), "reflection")
    own = dict(policy.module.named_parameters())
    frozen = _frozen(policy)
    assert frozen.keys() > {"vision.visual.patch_embed.proj.weight", "vae.quant_conv.weight"}
    assert not {id(w) for w in frozen.values()} & {id(w) for w in own.values()}
    before = {name: weight.clone() for name, weight in frozen.items()}
    optimizer = torch.optim.AdamW(own.values(), lr=1e-2)
    policy.loss([example])["latents"].total.backward()
    model = {name for name in own if name.startswith("language_model.")}
    denoiser = {name for name in own if name.startswith("denoiser.")}
    taught = {name for name, w in own.items() if w.grad is not None and w.grad.abs().max() > 0}
    # A key's bias adds the same to all scores, which a softmax does not see.
    unseen = {name for name in own if name.endswith(("k_proj.bias", "key.bias", "attn1.to_k.bias"))}
    assert taught | unseen == model | LEARNED[kind] | denoiser | unseen
    assert bool(denoiser) == (decoder == "learned")
    assert own.keys() == model | LEARNED[kind] | denoiser | {"lm_head.weight"}
    assert all(weight.requires_grad for weight in own.values())
    optimizer.step()
    for name, weight in frozen.items():
        assert weight.grad is None and not weight.requires_grad, name
        assert torch.equal(weight, before[name]), name
    assert ("denoiser.conv_in.weight" in frozen) == (decoder == "frozen")
    assert ("project.weight" in frozen) == (kind == "embeddings")
    assert any(name.startswith("text_encoder.") for name in frozen) == (kind == "signals")


def test_a_text_teaches_the_language_model_alone(tmp_path: Path) -> None:
    small.checkpoint(tmp_path, 1, decoder="learned")
    policy = ExternalPolicy.from_pretrained(tmp_path)
    example = Example((small.picture(1), "what is it?"), learned("a red circle"), "caption")
    policy.loss([example])["text"].total.backward()
    own = dict(policy.module.named_parameters())
    taught = {name for name, w in own.items() if w.grad is not None}
    model = {name for name in own if name.startswith(("language_model.", "lm_head."))}
    assert taught == model and all(weight.grad is None for weight in _frozen(policy).values())


def test_what_is_computed_again_has_the_same_gradients(tmp_path: Path) -> None:
    """As trainer.recompute has it, of the blocks of a denoiser that learns too."""
    small.checkpoint(tmp_path, 1, decoder="learned")
    context = (small.picture(1), "a red circle")
    batches = {"reflection": [Example(context, learned(small.picture(0)), "reflection")]}
    make = partial(ExternalPolicy.from_pretrained, tmp_path)
    plain, again = (gradients(make, batches, recompute=each) for each in (False, True))
    assert plain["reflection"][0] == again["reflection"][0]
    for name, gradient in plain["reflection"][1].items():
        assert torch.allclose(gradient, again["reflection"][1][name], atol=1e-6), name


def _frozen(policy: ExternalPolicy) -> dict[str, torch.Tensor]:
    """Everything that is held outside the module, by name."""
    held: dict[str, torch.nn.Module | None] = {
        "vae": policy.decoder.pipe.vae,
        "project": policy.decoder.project,
        "text_encoder": getattr(policy.decoder.pipe, "text_encoder", None),
    }
    if policy.config.decoder == "frozen":
        held["denoiser"] = policy.decoder.denoiser
    vision = policy.vision.model.named_children()
    held |= {f"vision.{name}": part for name, part in vision if name != "language_model"}
    return {
        f"{name}.{inner}": weight
        for name, part in held.items() if part is not None
        for inner, weight in part.named_parameters()
    }  # fmt: skip
