"""A checkpoint goes in and comes out bit for bit, in layouts that the public classes read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file

from policies.config import ExternalPolicyConfig, PolicyConfig
from policies.external import create
from policies.external.policy import ExternalPolicy
from policies.interface import Example, PictureSampling, learned
from policies.registry import files_digest, footprint
from tests.policies.external import small

CASES: dict[str, Any] = {
    "learned": {"decoder": "learned"},
    "tied": {"language": partial(small.qwen, tied=True)},
    "LLaVA with Sana": {"language": small.llava, "pipeline": small.sana, "kind": "embeddings"},
    "signals": {"kind": "signals"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_that_learned_is_read_by_the_public_classes(tmp_path: Path, case: str) -> None:
    small.checkpoint(tmp_path / "first", 2, **CASES[case])
    policy = ExternalPolicy.from_pretrained(tmp_path / "first")
    _learn(policy)
    policy.save_pretrained(tmp_path / "second")
    again = ExternalPolicy.from_pretrained(tmp_path / "second")
    weights = again.weights()
    assert all((weights[name] == own).all() for name, own in policy.weights().items())
    size = footprint(PolicyConfig(family="external", path=str(tmp_path / "second")))
    assert size.trained == sum(array.size for array in weights.values())
    folder = tmp_path / "second"
    net = transformers.AutoModelForImageTextToText.from_pretrained(folder / "language")
    ours = policy.module.language_model.state_dict()
    assert all(torch.equal(w, ours[n]) for n, w in net.model.language_model.state_dict().items())
    assert torch.equal(net.lm_head.weight, policy.module.lm_head.weight)
    seen = net.model.state_dict()
    first = transformers.AutoModelForImageTextToText.from_pretrained(
        tmp_path / "first" / "language"
    )
    for name, weight in first.model.state_dict().items():
        assert name.startswith("language_model.") or torch.equal(weight, seen[name]), name
    without = {"text_encoder": None, "tokenizer": None}  # as in the tiny Sana
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder / "pipeline", **without)
    public = getattr(pipe, policy.decoder.described.denoiser).state_dict()
    for name, weight in policy.decoder.denoiser.state_dict().items():
        assert torch.equal(weight, public[name]), name
    kept = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
    assert kept == {
        f.relative_to(tmp_path / "first") for f in (tmp_path / "first").rglob("*") if f.is_file()
    }
    one, other = (ExternalPolicyConfig(path=str(each)) for each in (folder, tmp_path / "first"))
    assert files_digest(one) != files_digest(other)


def test_nothing_is_saved_twice_or_in_other_formats(tmp_path: Path) -> None:
    small.checkpoint(tmp_path / "first", 2)
    pipeline = tmp_path / "first" / "pipeline"
    (pipeline / "safety_checker").mkdir()
    for name in (
        "all-in-one.safetensors", "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors", "safety_checker/pytorch_model.bin",
    ):  # fmt: skip
        (pipeline / name).write_bytes(b"of nobody")
    policy = ExternalPolicy.from_pretrained(tmp_path / "first")
    policy.save_pretrained(tmp_path / "second")
    saved = tmp_path / "second" / "pipeline"
    files = {file.name for file in (saved / "unet").iterdir()}
    assert files == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert (saved / "safety_checker" / "pytorch_model.bin").exists()
    assert not (saved / "all-in-one.safetensors").exists()


def test_saving_over_a_folder_leaves_a_policy_of_it_as_it_was(tmp_path: Path) -> None:
    for seed, decoder in ((1, "learned"), (2, "frozen")):
        small.checkpoint(tmp_path / str(seed), seed, decoder=decoder)
    policy, other = (ExternalPolicy.from_pretrained(tmp_path / name) for name in ("1", "2"))
    parts = (policy.module, policy.decoder.pipe.vae, *policy.vision.parts())
    before = [weight.clone() for part in parts for weight in part.parameters()]
    other.save_pretrained(tmp_path / "1")
    after = [weight for part in parts for weight in part.parameters()]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_a_bridge_has_one_file_of_tensors_by_name(tmp_path: Path) -> None:
    small.write_embeddings(tmp_path, 2)
    held = load_file(tmp_path / "bridge.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in held.items()} == {
        "slots": (1, small.HIDDEN),
        "leave.weight": (small.HIDDEN, small.HIDDEN),
        "leave.bias": (small.HIDDEN,),
        "project.weight": (small.WIDTH, small.HIDDEN),
        "project.bias": (small.WIDTH,),
    }


def test_two_public_folders_become_a_checkpoint_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small.qwen(tmp_path / "language")
    small.stable_diffusion(tmp_path / "drawing")
    asked = [str(tmp_path / name) for name in ("language", "drawing", "made")]
    assert create.main([*asked, "--kind", "queries", "--slots", "5"]) == 0
    assert "a bridge of 5 queries, which has learned nothing yet" in capsys.readouterr().out
    policy = ExternalPolicy.from_pretrained(tmp_path / "made")
    assert (policy.config.steps, policy.config.tokens) == (50, 5)  # as Stable Diffusion's own
    assert create.main([*asked[:2], asked[0], "--slots", "-1"]) == 1
    assert "slots=-1: it must be a whole number" in capsys.readouterr().err


def test_a_folder_that_is_made_again_holds_nothing_of_the_first_models(tmp_path: Path) -> None:
    for seed in (1, 2):
        torch.manual_seed(seed)
        small.qwen(tmp_path / f"language{seed}")
        small.stable_diffusion(tmp_path / f"drawing{seed}")
    language, unet = tmp_path / "language2", tmp_path / "drawing2" / "unet"
    for folder, kind in (
        (language, transformers.AutoModelForImageTextToText),
        (unet, diffusers.UNet2DConditionModel),
    ):
        net = kind.from_pretrained(folder)
        for file in folder.glob("*.safetensors"):
            file.unlink()
        net.save_pretrained(folder, max_shard_size="20KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    for seed in (1, 2):
        create.create(
            tmp_path / "made",
            tmp_path / f"language{seed}",
            tmp_path / f"drawing{seed}",
            "queries",
            slots=5,
        )
    create.create(
        tmp_path / "fresh", tmp_path / "language2", tmp_path / "drawing2", "queries", slots=5
    )
    made, fresh = (ExternalPolicy.from_pretrained(tmp_path / name) for name in ("made", "fresh"))
    for ours, theirs in (
        (made.module, fresh.module),
        (made.decoder.denoiser, fresh.decoder.denoiser),
    ):
        wanted = theirs.state_dict()
        assert all(torch.equal(weight, wanted[name]) for name, weight in ours.state_dict().items())


def test_adapters_learn_beside_frozen_weights_and_are_published_merged(tmp_path: Path) -> None:
    small.checkpoint(tmp_path, 2, decoder="learned")
    policy, base = (ExternalPolicy.from_pretrained(tmp_path) for _ in range(2))
    policy.adapt(2, 4)
    learning = {n for n, w in policy.module.named_parameters() if w.requires_grad}
    assert learning == policy.weights().keys()
    parts = {name.split(".")[0] for name in learning}
    assert parts == {"language_model", "bridge", "denoiser"}
    size = footprint(PolicyConfig(family="external", path=str(tmp_path)))
    assert 2 * size.adapter == sum(array.size for array in policy.weights().values())
    _learn(policy)
    merged = policy.published(policy.weights())
    assert merged.keys() == base.weights().keys()
    base.load_weights(merged)
    example = Example(("a red circle",), learned(small.picture(0)), "generation")
    with torch.no_grad():
        ours, theirs = (each.loss([example])["latents"].total.item() for each in (policy, base))
    assert ours == pytest.approx(theirs, rel=1e-4)
    with pytest.raises(RuntimeError, match="whose adapters learn neither samples nor is saved"):
        policy.draw([("red",)], [PictureSampling()], [0])


def _learn(policy: ExternalPolicy) -> None:
    """One step, of a drawing and a text."""
    shape = (
        (4, small.HIDDEN)
        if policy.config.kind == "embeddings"
        else (small.CHANNELS, small.SIDE, small.SIDE)
    )
    drawn = Example(("a red circle",), learned(small.picture(0, shape)), "generation")
    said = Example((small.picture(0, shape),), learned("red"), "caption")
    weights = [w for w in policy.module.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    for example in (drawn, said):
        for term in policy.loss([example]).values():
            term.total.backward()
    optimizer.step()
