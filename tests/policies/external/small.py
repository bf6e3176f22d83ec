"""Very small vision-language models and pipelines with random weights, and checkpoints of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from policies.external.config import BridgeConfig, Kind
from policies.external.create import create
from policies.interface import Picture
from policies.seeds import generator

torch.set_num_threads(1)
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
SIZE, SIDE, CHANNELS = 16, 4, 4
"""Pixels of a drawing each way, and its latents."""
WIDTH, HIDDEN, PROMPT = 24, 32, 12
"""Of an embedding that conditions the pipeline, of the language model, and tokens of a prompt."""
MARKS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"
)  # fmt: skip
VOCABULARY = 272
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Save = Callable[[Path], object]


def tokenizer() -> Tokenizer:
    """All 256 bytes, then the marks of Qwen's models."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in MARKS])
    return made


# Language models, as their public folders are


def qwen(folder: Path, kind: str = "Qwen2_5_VL", tied: bool = False, positions: int = 512) -> None:
    """A Qwen2.5-VL, or a Qwen2-VL."""
    ids = {name: 256 + i for i, name in enumerate(MARKS)}
    text = {
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": positions,
        "bos_token_id": 256, "eos_token_id": 258, "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
    }  # fmt: skip
    vision = {"depth": 1, "num_heads": 2, "patch_size": 4, "in_channels": 3}
    if kind == "Qwen2_5_VL":
        vision |= {
            "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": HIDDEN, "window_size": 16,
            "fullatt_block_indexes": [0],
        }  # fmt: skip
    else:
        vision |= {"embed_dim": 16, "hidden_size": HIDDEN, "mlp_ratio": 2}
    config = getattr(transformers, f"{kind}Config")
    build = getattr(transformers, f"{kind}ForConditionalGeneration")
    net = build(
        config(
            text_config=text, vision_config=vision, tie_word_embeddings=tied,
            image_token_id=ids["<|image_pad|>"], video_token_id=270,
            vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        )
    )  # fmt: skip
    net.save_pretrained(folder)
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor", "patch_size": 4, "merge_size": 2,
        "temporal_patch_size": 2, "size": {"shortest_edge": 64, "longest_edge": 4096},
    }  # fmt: skip
    _talk(folder, processor)


def llava(folder: Path) -> None:
    """A LLaVA: a tower of CLIP, a projector, and a Llama."""
    vision = {
        "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIZE, "patch_size": 8,
        "projection_dim": 16,
    }  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }  # fmt: skip
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_id=261)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
    }  # fmt: skip
    _talk(folder, processor)


def _talk(folder: Path, processor: dict[str, Any]) -> None:
    files = {
        "preprocessor_config.json": processor,
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    }
    for name, fields in files.items():
        (folder / name).write_text(json.dumps(fields))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer().save(str(folder / "tokenizer.json"))


# Pipelines, likewise


def stable_diffusion(folder: Path, width: int = WIDTH, **scheduler: Any) -> None:
    """A Stable Diffusion with its text encoder."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=(32,),
        layers_per_block=1, norm_num_groups=8, cross_attention_dim=width, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=None,
    )  # fmt: skip
    with torch.no_grad():  # of random weights hardly anything follows from what conditions them
        for name, weight in unet.named_parameters():
            weight.mul_(2.0 if ".attn2." in name else 3.0 if name.startswith("conv_out") else 1.0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8), norm_num_groups=4, layers_per_block=1, latent_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        sample_size=SIZE,
    )  # fmt: skip
    kinds = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"} | {
        "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
    }  # fmt: skip
    steps = diffusers.DDIMScheduler(**kinds | scheduler)
    clip = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=514, hidden_size=width, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=PROMPT, bos_token_id=512, eos_token_id=513,
        )
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        vae, clip, _clip_tokenizer(), unet, steps, None, None, requires_safety_checker=False
    )
    pipe.save_pretrained(folder)


def _clip_tokenizer() -> Any:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        where = [str(folder / name) for name in ("vocab.json", "merges.txt")]
        return transformers.CLIPTokenizer(*where, model_max_length=PROMPT)


def sana(folder: Path) -> None:
    """A transformer that draws by a flow, without the text encoder."""
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=8,
        num_layers=2, num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16,
        caption_channels=WIDTH, sample_size=SIDE * 2, patch_size=1,
    )  # fmt: skip
    vae = diffusers.AutoencoderDC(
        latent_channels=CHANNELS, attention_head_dim=4,
        encoder_block_types=("ResBlock",) * 3, decoder_block_types=("ResBlock",) * 3,
        encoder_block_out_channels=(8, 8, 16), decoder_block_out_channels=(8, 8, 16),
        encoder_qkv_multiscales=((), (), ()), decoder_qkv_multiscales=((), (), ()),
        encoder_layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1), scaling_factor=0.4,
    )  # fmt: skip
    steps = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    pipe = diffusers.SanaPipeline(None, None, vae, transformer, steps)
    pipe.save_pretrained(folder)


# Checkpoints


def checkpoint(
    folder: Path, seed: int = 0, kind: Kind = "queries", language: Save = qwen,
    pipeline: Save = stable_diffusion, **how: Any,
) -> BridgeConfig:  # fmt: skip
    """Writes one with weights that follow from `seed`."""
    if kind != "embeddings":
        how = {"slots": 16 if kind == "queries" else 3} | how
    sizes = {"layers": 1, "heads": 2, "inner": 16, "side": SIZE, "steps": 3}
    with TemporaryDirectory() as made, torch.random.fork_rng():
        torch.manual_seed(seed)
        language(Path(made) / "language")
        pipeline(Path(made) / "pipeline")
        return create(
            folder, Path(made) / "language", Path(made) / "pipeline", kind, seed=seed, **sizes | how
        )


def write_folder(folder: Path, seed: int) -> None:
    """A whole checkpoint with a bridge of queries, whose tokenizer writes any text."""
    checkpoint(folder, seed)


def write_roomy_folder(folder: Path, seed: int) -> None:
    """The same, with room for the instructions of all roles."""
    checkpoint(folder, seed, language=partial(qwen, positions=8192))


write_embeddings = partial(checkpoint, kind="embeddings")
write_signals = partial(checkpoint, kind="signals")
write_learning_signals = partial(checkpoint, kind="signals", decoder="learned")


def picture(seed: int, shape: tuple[int, ...] = (CHANNELS, SIDE, SIDE)) -> Picture:
    chance = generator("picture", seed)
    pixels = chance.integers(0, 256, (SIZE, SIZE, 3), dtype="uint8")
    latents = chance.standard_normal(shape, dtype="float32")
    return Picture(pixels, None, torch.from_numpy(latents))
