"""What cannot be read or drawn is refused in one sentence that names it, before work starts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.config import ConfigError, ExternalPolicyConfig
from policies.external.checkpoint import fresh, load, read_small, save_bridge
from policies.external.config import BridgeConfig, parsed, written
from policies.external.policy import ExternalPolicy
from policies.interface import (
    CheckpointError,
    Example,
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
    Unsupported,
    learned,
)
from policies.janus.policy import JanusPolicy
from policies.registry import footprint
from tests.policies import damage
from tests.policies.damage import Damage, cut, lose, tensors, write
from tests.policies.external import small
from tests.policies.janus import tiny_folder


def edit(name: str, **fields: Any) -> Damage:
    """Other fields in a JSON file; None removes one."""

    def change(folder: Path) -> None:
        stated = json.loads((folder / name).read_text()) | fields
        kept = {key: value for key, value in stated.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return change


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("external")
    small.checkpoint(made, 1)
    return made


@pytest.fixture(scope="module")
def policy(folder: Path) -> ExternalPolicy:
    return ExternalPolicy.from_pretrained(folder)


INDEX, UNET = "pipeline/model_index.json", "pipeline/unet/config.json"
WEIGHTS, TEMPLATE = (
    "pipeline/unet/diffusion_pytorch_model.safetensors",
    "language/chat_template.jinja",
)


def endless(folder: Path) -> None:
    """Nothing says what ends an answer: neither the template, nor a number, nor a name."""
    file = folder / TEMPLATE
    file.write_text(file.read_text().replace("<|im_end|>", ""))
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        file = folder / "language" / name
        stated = json.loads(file.read_text())
        stated.get("text_config", {}).pop("eos_token_id", None)
        kept = {key: value for key, value in stated.items() if not key.startswith("eos_token")}
        file.write_text(json.dumps(kept))


SMALL: dict[str, tuple[Damage, str]] = {
    "other kind": (edit("bridge.json", kind="tools"), "kind='tools': it must be queries or embeddings"),
    "no bridge": (lose("bridge.json"), "so this is no checkpoint of family external: make one with"),
    "no JSON": (write("bridge.json", b"{"), "bridge.json is not JSON"),
    "more fields": (edit("bridge.json", depth=3), "but a bridge has only kind, slots"),
    "width": (
        edit("bridge.json", width=32),
        "pipeline is conditioned on embeddings of 24 numbers, but the bridge in",
    ),
    "hidden": (edit("bridge.json", hidden=48), "language has hidden states of 32 numbers"),
    "pooled": (
        edit(INDEX, _class_name="StableDiffusion3Pipeline"),
        "StableDiffusion3Pipeline, which wants negative_pooled_prompt_embeds too",
    ),
    "pooled XL": (edit(INDEX, _class_name="StableDiffusionXLPipeline"), "pooled_prompt_embeds too"),
    "no text": (edit(INDEX, _class_name="DiTPipeline"), "DiTPipeline, which takes no "),
    "no pipeline": (edit(INDEX, _class_name="AutoencoderKL"), "which is no pipeline of diffusers"),
    "no denoiser": (edit(INDEX, unet=None), "names none of unet and transformer"),
    "unknown denoiser": (edit(INDEX, unet=["diffusers", "UNetOfTomorrow"]), "'UNetOfTomorrow', which"),
    "more conditions": (edit(UNET, class_embed_type="timestep"), "a unet that wants class_embed_type"),
    "other sizes": (edit(UNET, sample_size=[4, 8]), "sample_size=[4, 8]: family external reads one"),
    "inpainting": (edit(UNET, in_channels=9), "in_channels=9 and out_channels=4"),
    "other language": (edit("language/config.json", model_type="gemma3"), "'gemma3'; family external"),
    "no template": (lose(TEMPLATE), "has no chat template"),
    "no end": (endless, "names no token that ends a text"),
    "no place": (edit("language/config.json", image_token_id=7), "which is no token of its own"),
    "no processor": (lose("language/preprocessor_config.json"), "preprocessor_config.json is missing"),
    "lost template": (write(TEMPLATE, b"hello"), "leaves out a text or a picture"),
    "bad template": (write(TEMPLATE, b"{% if %}"), "cannot be filled in"),
}  # fmt: skip
WHOLE: dict[str, tuple[Damage, str]] = {
    "bridge cut": (cut("bridge.safetensors", 100), "bridge.safetensors is truncated or damaged"),
    "bridge lacks": (tensors("bridge.safetensors", lambda t: t.pop("slots")), "lacks tensor slots"),
    "bridge shape": (
        tensors("bridge.safetensors", lambda t: t.update(slots=torch.zeros(3, 32))), "bridge.json asks for"
    ),
    "no number": (
        tensors("bridge.safetensors", lambda t: t["slots"].fill_(torch.nan)), "NaN or infinite values"
    ),
    "language cut": (cut("language/model.safetensors", 500), "model.safetensors is truncated or damaged"),
    "language lacks": (
        tensors("language/model.safetensors", lambda t: t.pop("lm_head.weight")), "lacks the tensor"
    ),
    "unet cut": (cut(WEIGHTS, 500), "unet cannot be read"),
    "unet lacks": (tensors(WEIGHTS, lambda t: t.pop("conv_in.bias")), "conv_in.bias"),
    "unet no number": (
        tensors(WEIGHTS, lambda t: t["conv_in.bias"].fill_(torch.inf)), "NaN or infinite values"
    ),
    "no scheduler": (lose("pipeline/scheduler/scheduler_config.json"), "scheduler cannot be read"),
    "other prediction": (
        edit("pipeline/scheduler/scheduler_config.json", prediction_type="score"), "prediction_type='score'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SMALL)
def test_what_does_not_fit_is_refused_before_weights_are_read(
    tmp_path: Path, folder: Path, case: str
) -> None:
    harm, message = SMALL[case]
    broken = copied(folder, tmp_path / "broken")
    for weights in broken.rglob("*.safetensors"):
        weights.unlink()
    harm(broken)
    damage.refused(read_small, broken, message)


@pytest.mark.parametrize("case", WHOLE)
def test_a_damaged_folder_is_named(tmp_path: Path, folder: Path, case: str) -> None:
    harm, message = WHOLE[case]
    broken = copied(folder, tmp_path / "broken")
    harm(broken)
    damage.refused(load, broken, message)


def test_a_dry_run_refuses_a_pipeline_that_wants_more(tmp_path: Path, folder: Path) -> None:
    broken = copied(folder, tmp_path / "broken")
    edit(INDEX, _class_name="FluxPipeline")(broken)
    with pytest.raises(CheckpointError, match="FluxPipeline, which wants negative_pooled"):
        footprint(ExternalPolicyConfig(path=str(broken)))


def test_checkpoints_of_other_families_are_refused(tmp_path: Path, folder: Path) -> None:
    tiny_folder(tmp_path / "janus")
    damage.refused(
        ExternalPolicy.from_pretrained, tmp_path / "janus", "no checkpoint of family external"
    )
    damage.refused(JanusPolicy.from_pretrained, folder, "config.json")


def test_without_diffusers_the_sentence_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for act in (
        ExternalPolicy.from_pretrained,
        lambda f: footprint(ExternalPolicyConfig(path=str(f))),
    ):
        with pytest.raises(ConfigError, match=r"pip install 'unicorn-ray\[external\]'") as caught:
            act(folder)
        assert "\n" not in str(caught.value)


def test_signals_are_refused_where_a_prompts_embeddings_have_a_mask(tmp_path: Path) -> None:
    small.checkpoint(tmp_path, 1, pipeline=small.sana)
    small_signals = {"kind": "signals", "slots": 3, "layers": 1, "heads": 2, "inner": 16}
    edit("bridge.json", **small_signals)(tmp_path)
    stated = json.loads((tmp_path / "bridge.json").read_text())
    config = BridgeConfig(**stated)
    save_bridge(tmp_path, config, *fresh(config))
    damage.refused(load, tmp_path, "a mask, which a bridge of signals does not learn")


def test_a_text_encoder_that_the_signals_were_not_made_for_is_refused(tmp_path: Path) -> None:
    config = small.write_signals(tmp_path, 1)
    other = BridgeConfig(**vars(config) | {"tokens": 7})
    save_bridge(tmp_path, other, *fresh(other))
    damage.refused(
        load, tmp_path, "gives 12 x 24 numbers of a prompt, but the signals of this bridge"
    )


def test_embeddings_of_another_size_of_picture_are_refused(tmp_path: Path) -> None:
    small.write_embeddings(tmp_path, 1)
    edit("bridge.json", side=32)(tmp_path)
    damage.refused(read_small, tmp_path, "has 16 features of a picture of side=32")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            PictureSampling(guidance=0.5),
            "guidance is 0.5: diffusers guides above 1 alone; set it to 1",
        ),
        (PictureSampling(guidance=-2.0), "guidance is -2.0"),
        (PictureSampling(steps=-1), "steps is -1: it must be above 0, or 0 for the bridge's own"),
    ],
)
def test_numbers_that_no_drawing_has_are_refused(
    policy: ExternalPolicy, how: PictureSampling, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        policy.draw([("red",)], [how], [0])


def test_what_takes_more_room_than_there_is_is_refused(policy: ExternalPolicy) -> None:
    long = ("a" * 480,)
    with pytest.raises(PromptError, match="need 5.. tokens, but the model holds 512"):
        policy.draw([long], [PictureSampling()], [0])
    with pytest.raises(PromptError, match="need 5.. tokens, but the model holds 512"):
        policy.write([long], [TextSampling(max_tokens=30)], [0])
    assert policy.write([long], [TextSampling(max_tokens=1)], [0])


def test_targets_of_other_forms_are_refused_by_name(policy: ExternalPolicy) -> None:
    both = [Example(("red",), learned(each), "generation") for each in ("red", small.picture(0))]
    acts: tuple[Callable[[list[Example]], object], ...] = (
        policy.loss, policy.target_counts, policy.lengths
    )  # fmt: skip
    for act in acts:
        with pytest.raises(
            Unsupported, match="family external learns only one of the two in a step"
        ):
            act(both)
        with pytest.raises(
            Unsupported, match="a target of 2 parts: family external learns one text or"
        ):
            act([Example(("red",), learned("plan", small.picture(0)), "generation")])


def test_a_picture_that_is_all_but_a_line_is_refused(policy: ExternalPolicy) -> None:
    line = Picture(torch.zeros(2, 300, 3, dtype=torch.uint8).numpy())
    with pytest.raises(PromptError, match="2 x 300 pixels cannot be seen: one side is more than"):
        policy.write([(line,)], [TextSampling()], [0])


FIELDS = (
    "kind",
    "slots",
    "tokens",
    "width",
    "hidden",
    "steps",
    "decoder",
    "side",
    "layers",
    "heads",
    "inner",
    "x",
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=5),
    st.sampled_from(["queries", "signals", "embeddings", "frozen", "learned"]),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip


@given(st.one_of(VALUES, st.dictionaries(st.sampled_from(FIELDS), VALUES)))
def test_whatever_a_bridges_file_says_is_read_or_refused(stated: object) -> None:
    right = {"kind": "queries", "slots": 4, "tokens": 4, "width": 8, "hidden": 8, "steps": 5}
    for whole in (stated, {**right, **stated} if isinstance(stated, dict) else right):
        try:
            config = parsed(Path("bridge.json"), whole)
        except CheckpointError as error:
            assert "\n" not in str(error) and str(error).startswith("bridge.json has")
        else:
            assert parsed(Path("bridge.json"), json.loads(written(config))) == config
            assert config.steps > 0


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to
