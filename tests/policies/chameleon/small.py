"""A very small Chameleon with random weights as a folder, to write, draw and learn with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from policies.chameleon.checkpoint import Loaded, parted, save
from policies.chameleon.config import build, drawing_tokens, parse_config
from policies.chameleon.extras import completed
from policies.chameleon.tokens import REQUIRED, code_name, parse
from policies.interface import Example, Picture, learned
from policies.seeds import generator

torch.set_num_threads(1)
SIZE, CODES, TOKENS = 32, 64, 16
CONFIG: dict[str, Any] = {
    "model_type": "chameleon",
    "vocab_size": 336,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "vq_config": {
        "embed_dim": 8,
        "num_embeddings": CODES,
        "latent_channels": 8,
        "resolution": SIZE,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [],
    },
}
PROMPTS = ("a red circle", "two blue squares above a very long description of a circle", "", "ö→猫")
VERDICT = '{"analysis": "the circle is red", "score": 9}'


def tokenizer() -> Tokenizer:
    """The public order: marks, image codes, marks, and then text, here all 256 bytes. A text begins
    with a mark, as in the public tokenizer."""
    first, last = ["<s>", "<pad>", "</s>", "<unk>"], ["<eoss>", "<racm3:break>"]
    last += ["<reserved08706>", "<image>"]
    codes = [code_name(code) for code in range(CODES)]
    words = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: i for i, name in enumerate([*first, *codes, *last, *words])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in first + last])
    bos = REQUIRED["bos"]
    made.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, vocabulary[bos])]
    )
    return made


def write_folder(folder: Path, seed: int = 0) -> None:
    """Saves a Chameleon with an image decoder, and weights that follow from `seed`."""
    save(folder, loaded(seed))


@cache
def loaded(seed: int = 0, swin: bool = False, attends: bool = False) -> Loaded:
    """`attends`: the image tokenizer has attention at its coarsest level."""
    made = tokenizer()
    described = {**CONFIG, "swin_norm": swin}
    if attends:
        described["vq_config"] = {**CONFIG["vq_config"], "attn_resolutions": [4]}
    folder, vocabulary = Path("small"), made.get_vocab()
    values = parse_config(folder / "config.json", described)
    data = made.to_str().encode()
    read, special = parse(folder, data, vocabulary, CODES)
    config = build(values, vocabulary, special)
    extras, scale = completed(
        folder, {"tokenizer.json": data}, special, config, drawing_tokens(config)
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net, vq, decoder = parted(config)
        with torch.no_grad():
            # As transformers makes them, norms do nothing and codes are alike: here all matters.
            for name, weight in net.named_parameters():
                if "norm" in name:
                    weight.add_(0.3 * torch.randn_like(weight))
            vq.quantize.embedding.weight.normal_(std=0.1)
    return Loaded(net.eval(), vq.eval(), decoder.eval(), read, special, extras, scale)


def picture(seed: int, side: int = SIZE) -> Picture:
    """With codes, and pixels that have nothing to do with them."""
    chance = generator("picture", seed)
    pixels = chance.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Picture(pixels, chance.integers(0, CODES, TOKENS).astype(np.int32))


def bare(seed: int, height: int = SIZE, width: int = SIZE) -> Picture:
    """As from a file."""
    pixels = generator("bare", seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(pixels)


def examples() -> dict[str, list[Example]]:
    """Two of each pattern, of differing length."""
    return {
        "generation": [
            Example((p,), learned(picture(i)), "generation") for i, p in enumerate(PROMPTS[:2])
        ],
        "caption": [
            Example((bare(2), "Describe this."), learned("a red circle"), "caption"),
            Example((picture(3), "What is it?"), learned("two squares"), "caption"),
        ],
        "judgement": [
            Example(("Judge", "a red circle", picture(4)), learned(VERDICT), "judgement"),
            Example(("Judge", "blue", picture(5)), learned('{"score": 1}'), "judgement"),
        ],
        "reflection": [
            Example(("a red circle", picture(6), VERDICT), learned(picture(7)), "reflection"),
            Example(("blue", picture(8), '{"score": 1}'), learned(picture(9)), "reflection"),
        ],
    }


def rewrite(folder: Path, name: str, **fields: object) -> None:
    """Changes fields of a JSON file; None takes one out."""
    stated = json.loads((folder / name).read_text()) | fields
    kept = {field: value for field, value in stated.items() if value is not None}
    (folder / name).write_text(json.dumps(kept))
