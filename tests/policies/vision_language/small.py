"""Very small vision-language models with random weights, as folders in transformers' own layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from policies.interface import Picture
from policies.seeds import generator

torch.set_num_threads(1)
SIDE = 16
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
         "<|video_pad|>", "<image>")  # fmt: skip
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}"
    "{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As LLaVA's: pictures first, no token that ends a turn, and a space before an answer.
SPACED = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
TEXT: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "rms_norm_eps": 1e-6,
}  # fmt: skip
GRID = {
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "merge_size": 2, "min_pixels": 64,
    "max_pixels": 1024, "patch_size": 4, "temporal_patch_size": 2, "resample": 3,
    "rescale_factor": 1 / 255, "image_processor_type": "Qwen2VLImageProcessor",
}  # fmt: skip
SQUARE = {
    "image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True,
    "do_rescale": True, "do_normalize": True, "crop_size": {"height": SIDE, "width": SIDE},
    "size": {"shortest_edge": SIDE}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255, "resample": 3,
}  # fmt: skip


def tokenizer() -> Tokenizer:
    """All 256 bytes, and the names of structure."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in MARKS])
    return made


def sentence_piece() -> Tokenizer:
    """As Llama's: a text begins as if a space were before it, and a conversation with a token of its own;
    what is no piece is written byte by byte."""
    pieces = ["▁", *(chr(byte) for byte in range(0x21, 0x7F)), "▁{", '▁{"', "ö", "▁a"]
    names = [*(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    made = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True))
    spaced = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    made.normalizer = normalizers.Sequence(spaced)
    text = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*text, decoders.Strip(" ", 1, 0)])
    made.add_special_tokens([AddedToken(name, special=True) for name in ("<s>", *MARKS)])
    bos = ("<s>", made.token_to_id("<s>"))
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[bos]
    )
    return made


def _ids(made: Tokenizer) -> dict[str, int]:
    return {name: made.token_to_id(name) for name in MARKS}


def _grid_config(kind: str, tied: bool, made: Tokenizer) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2VLConfig

    ids, words = _ids(made), made.get_vocab_size()
    text = {**TEXT, "vocab_size": words, "tie_word_embeddings": tied,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]},
            "bos_token_id": None, "eos_token_id": ids["<|im_end|>"]}  # fmt: skip
    seeing = {
        "depth": 2,
        "num_heads": 2,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    marks = {"image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
             "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
             "tie_word_embeddings": tied}  # fmt: skip
    if kind == "qwen2_vl":
        seeing |= {"embed_dim": 32, "hidden_size": 48, "mlp_ratio": 2}
        return Qwen2VLConfig(text_config=text, vision_config=seeing, **marks)
    seeing |= {"hidden_size": 32, "out_hidden_size": 48, "intermediate_size": 64, "window_size": 16,
               "fullatt_block_indexes": [1]}  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=seeing, **marks)


def _square_config(made: Tokenizer) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    ids, words = _ids(made), made.get_vocab_size()
    seeing = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE, patch_size=8, projection_dim=32,
    )  # fmt: skip
    text = LlamaConfig(**TEXT, vocab_size=words, bos_token_id=None, eos_token_id=ids["<|im_end|>"])
    return LlavaConfig(vision_config=seeing, text_config=text, image_token_id=ids["<image>"])


def write_model(
    folder: Path,
    seed: int,
    kind: str = "qwen2_vl",
    tied: bool = False,
    made: Tokenizer | None = None,
) -> Path:
    """Writes one of the `kind` qwen2_vl, qwen2_5_vl or llava."""
    from transformers import AutoModelForImageTextToText

    made, square = made or tokenizer(), kind == "llava"
    config = _square_config(made) if square else _grid_config(kind, tied, made)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModelForImageTextToText.from_config(config).eval().save_pretrained(folder)
    (folder / "tokenizer.json").write_text(made.to_str())
    (folder / "preprocessor_config.json").write_text(json.dumps(SQUARE if square else GRID))
    (folder / "chat_template.jinja").write_text(SPACED if square else CHAT)
    return folder


def picture(seed: int, side: int = SIDE) -> Picture:
    return Picture(generator("picture", seed).integers(0, 256, (side, side, 3), dtype="uint8"))
