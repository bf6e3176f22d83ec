"""What is read, written and drawn is what the public classes read, write and draw."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers

from policies.external.policy import ExternalPolicy
from policies.external.schedule import Schedule
from policies.interface import (
    Condition,
    Context,
    Example,
    Picture,
    PictureSampling,
    TextSampling,
    learned,
)
from policies.seeds import generator
from policies.vision_language.chat import PLACE
from policies.vision_language.policy import Lesson
from tests.policies.external import small

LANGUAGES = {
    "Qwen2.5-VL": small.qwen,
    "Qwen2-VL": partial(small.qwen, kind="Qwen2VL"),
    "tied": partial(small.qwen, tied=True),
    "LLaVA": small.llava,
}
PIPELINES = {"Stable Diffusion": small.stable_diffusion, "Sana": small.sana}
TALK: Context = (small.picture(1), "what is\nit? ö→猫", Picture(small.picture(2).pixels[:8]), "red")


@pytest.fixture(params=LANGUAGES)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ExternalPolicy, Any]:
    """Ours, and transformers' own model from the very folder."""
    small.checkpoint(tmp_path, 3, language=LANGUAGES[request.param])
    net = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "language").eval()
    return ExternalPolicy.from_pretrained(tmp_path), net


def public_inputs(policy: ExternalPolicy, context: Context) -> dict[str, torch.Tensor]:
    """What transformers' model is given for a context."""
    ids = torch.tensor([policy.layout.question(context).ids])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    folder = policy._parts.folder / "language"
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    images = [p.pixels for p in context if isinstance(p, Picture)]
    given |= dict(processor(images=images, return_tensors="pt"))
    kinds = {"mm_token_type_ids": (ids == policy.chat.image).int()}
    return given | (kinds if "image_grid_thw" in given else {})


def test_logits_are_those_of_transformers_own_model(both: tuple[ExternalPolicy, Any]) -> None:
    policy, net = both
    given = public_inputs(policy, TALK)
    read = policy.layout.question(TALK)
    batch, every = policy.batch([Lesson(read, np.arange(len(read.ids)))])
    with torch.no_grad():
        wanted = net(**given).logits[0]
        logits = policy.module(batch, every)
    assert (logits - wanted).abs().max() < 1e-6


def test_greedy_texts_are_those_of_transformers_generate(both: tuple[ExternalPolicy, Any]) -> None:
    """In a batch with another question, padded on the left."""
    policy, net = both
    with torch.no_grad():  # of random weights one token would follow itself
        for each in (net, policy.module):
            for name, weight in each.named_parameters():
                if "layers" in name and weight.ndim == 2 and "language_model" in name:
                    weight.mul_(4)
    given = public_inputs(policy, TALK)
    made = net.generate(
        **given, do_sample=False, max_new_tokens=8, eos_token_id=policy.chat.end,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    wanted = torch.cat(made.logits).numpy()
    asked = [TALK, ("a much longer question without a picture" * 3,)]
    how = [TextSampling(temperature=0, max_tokens=8)] * 2
    written = policy.sample_words(asked, how, [0, 1], keep_logits=True)
    found = written.logits[0]
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-5
    ids = made.sequences[0, given["input_ids"].shape[1] :].tolist()
    assert written.tokens[0].tolist() == [i for i in ids if i != policy.chat.end]


def test_questions_are_those_of_the_public_tokenizer_and_template(
    both: tuple[ExternalPolicy, Any],
) -> None:
    policy, net = both
    folder = Path(net.name_or_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    said = [
        {"type": "image"} if isinstance(each, Picture) else {"type": "text", "text": each}
        for each in TALK
    ]
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": said}], add_generation_prompt=True, tokenize=False
    )
    for shown in (segment for segment in TALK if isinstance(segment, Picture)):
        rendered = rendered.replace("<|image_pad|>", "<hole>" * policy.eye.count(shown), 1)
    wanted = tokenizer(
        rendered.replace("<hole>", "<|image_pad|>"), add_special_tokens=False
    ).input_ids
    assert list(policy.layout.question(TALK).ids) == wanted
    assert policy.chat.end == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_a_text_opens_no_picture_and_ends_no_turn(both: tuple[ExternalPolicy, Any]) -> None:
    policy, _ = both
    text = "<|im_end|><|image_pad|>" + PLACE.format(0)
    plain, spelt = (policy.layout.question((t,)).ids for t in ("", text))
    marks = set(range(256, 262))
    assert sum(i in marks for i in spelt) == sum(i in marks for i in plain)
    assert policy.text_of(policy.chat.answer(text)) == text


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", PIPELINES)
def test_drawings_are_those_of_diffusers_own_pipeline(
    tmp_path: Path, name: str, guidance: float
) -> None:
    """From the same conditions and the same generators, to the last bit."""
    small.checkpoint(tmp_path, 4, pipeline=PIPELINES[name])
    policy = ExternalPolicy.from_pretrained(tmp_path)
    asked: list[Context] = [("a red circle",), (small.picture(3), "the same in blue")]
    drawn = policy.draw(asked, [PictureSampling(guidance=guidance, steps=4)] * 2, [5, 6])
    without: tuple[tuple[Condition, ...], ...] = ((), ("text",))
    told, untold = (
        torch.stack(policy.artist.conditions([policy.layout.question(c, each) for c in asked]))
        for each in without
    )
    kind = policy.decoder.described.kind
    pipe = kind.from_pretrained(tmp_path / "pipeline", text_encoder=None, tokenizer=None)
    pipe.set_progress_bar_config(disable=True)
    how: dict[str, Any] = {
        "prompt_embeds": told.detach(),
        "negative_prompt_embeds": untold.detach(),
    }
    if name == "Sana":
        ones = torch.ones(told.shape[:2], dtype=torch.int64)
        how |= {f"{side}prompt_attention_mask": ones for side in ("", "negative_")}
        how |= {"use_resolution_binning": False, "negative_prompt": None}
    chance = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    size = policy.decoder.described.pixels
    shown = pipe(
        guidance_scale=guidance, num_inference_steps=4, generator=chance, height=size, width=size,
        output_type="np", **how,
    ).images  # fmt: skip
    for ours, theirs in zip(drawn, shown, strict=True):
        (part,) = ours
        assert isinstance(part.segment, Picture)
        assert np.array_equal(part.segment.pixels, (theirs * 255).round().astype(np.uint8))


@pytest.mark.parametrize("predicted", ["epsilon", "v_prediction", "sample"])
def test_what_is_learned_undoes_the_noise(predicted: str) -> None:
    """A denoiser that predicts just that, at that time, has the scheduler find the clean latents."""
    steps = diffusers.DDIMScheduler(
        prediction_type=predicted, clip_sample=False, beta_schedule="scaled_linear"
    )
    schedule, clean = Schedule(steps, Path("scheduler")), torch.randn(4, 3, 3)
    steps.set_timesteps(1000)
    times = set()
    for seed in range(5):
        noisy, time, wanted = schedule.noised(clean, generator("noise", seed))
        found = steps.step(wanted, int(time), noisy).pred_original_sample
        assert (found - clean).abs().max() < 2e-4
        times.add(int(time))
    assert len(times) > 1


def test_a_flow_is_learned_as_its_scheduler_puts_noise_on() -> None:
    steps = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule, clean = Schedule(steps, Path("scheduler")), torch.randn(4, 3, 3)
    noisy, time, velocity = schedule.noised(clean, generator("noise", 1))
    at = time / steps.config.num_train_timesteps
    assert schedule.shift == 3.0 and 0 < at < 1
    assert torch.allclose(noisy - at * velocity, clean, atol=1e-5)
    assert torch.allclose(noisy + (1 - at) * velocity, velocity + clean, atol=1e-5)


def test_pixels_without_latents_are_encoded_as_the_pipelines_autoencoder_does(
    tmp_path: Path,
) -> None:
    small.checkpoint(tmp_path, 4)
    policy = ExternalPolicy.from_pretrained(tmp_path)
    seen = Picture(small.picture(0).pixels)
    vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / "pipeline" / "vae").eval()
    scaled = torch.from_numpy(seen.pixels).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    with torch.no_grad():
        wanted = vae.encode(scaled).latent_dist.mode() * vae.config.scaling_factor
    assert (policy.decoder.encode([seen]) - wanted).abs().max() < 1e-5
    known = Picture(seen.pixels, None, wanted[0])
    one, other = (
        policy.loss([Example(("red",), learned(each), "generation")])["latents"].total.item()
        for each in (seen, known)
    )
    assert one == pytest.approx(other, rel=1e-5)
    assert policy.target_counts([Example(("red",), learned(seen), "generation")]) == {"latents": 64}


def test_signals_learn_the_text_encoders_embeddings_and_the_noise(tmp_path: Path) -> None:
    small.write_signals(tmp_path, 5)
    policy = ExternalPolicy.from_pretrained(tmp_path)
    folder = tmp_path / "pipeline"
    clip = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = tokenizer(
        ["red ox"], padding="max_length", max_length=small.PROMPT, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        wanted = clip(ids)[0]
    example = Example(("red", small.picture(1), "ox"), learned(small.picture(0)), "reflection")
    with torch.no_grad():
        (told,) = policy.artist.conditions([policy.layout.question(example.context)])
        term = policy.loss([example])["latents"]
        clean = small.picture(0).latents
        assert clean is not None
        noisy, time, noise = policy.decoder.schedule.noised(clean, example.random("noise"))
        predicted = policy.decoder.denoise(noisy[None], time[None], told[None])[0]
    total = (predicted - noise).square().sum() + (told - wanted[0]).square().sum()
    assert term.total.item() == pytest.approx(total.item(), rel=1e-5)
    assert term.count == noise.numel() + small.PROMPT * small.WIDTH
