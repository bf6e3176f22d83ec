"""The language model's own folder: a vision-language model in transformers' public layout.

Invariant: only kinds are read whose pictures enter as embeddings at one token of the text and nowhere
else, for those are what `policies.external.module` computes; a folder is read whole or refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from policies.errors import describe, one_line
from policies.external.wording import Chat
from policies.interface import CheckpointError
from policies.named_tensors import require_finite
from policies.tokenizer import TOKENIZER, parse_tokenizer

CONFIG = "config.json"
AGAIN = "copy it again from the language model"
KINDS = {"llava": False, "qwen2_vl": True, "qwen2_5_vl": True}
"""What is read, by model_type; and whether places follow a picture's rows and columns (M-RoPE)."""
TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Small:
    """All but the weights: transformers' configuration, its image processor, and how to talk."""

    folder: Path
    config: Any
    gridded: bool
    processor: Any
    chat: Chat

    @property
    def text(self) -> Any:
        """The configuration of its language model proper."""
        return self.config.text_config


def read_small(folder: Path) -> Small:
    """Raises CheckpointError."""
    config = configuration(folder)
    return Small(folder, config, KINDS[config.model_type], processor(folder), _chat(folder, config))


def configuration(folder: Path) -> Any:
    """transformers' configuration of the model. Raises CheckpointError."""
    file = folder / CONFIG
    kind = _object(file).get("model_type")
    if kind not in KINDS:
        raise CheckpointError(
            f"{file} is of model_type {describe(kind)}; family external reads vision-language models "
            f"of {', '.join(KINDS)}."
        )
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        sizes = (
            config.text_config.hidden_size,
            config.text_config.vocab_size,
            config.image_token_id,
        )
        if min(sizes) < 1:
            raise ValueError(f"sizes {sizes}")
    except Exception as error:  # whatever a damaged file leads transformers to
        raise CheckpointError(f"{file} cannot be read ({one_line(error)}); {AGAIN}.") from error
    return config


def built(config: Any) -> Any:
    """The model, without memory where torch's default device is meta."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_config(config)


def load(small: Small, dtype: torch.dtype) -> Any:
    """transformers' model in eval mode, its weights in `dtype`, whatever they were. Raises
    CheckpointError."""
    from transformers import AutoModelForImageTextToText

    folder, read = small.folder, AutoModelForImageTextToText.from_pretrained
    made: Any
    try:
        made = read(
            str(folder), dtype=dtype, local_files_only=True, output_loading_info=True,
            use_safetensors=True, attn_implementation="sdpa",
        )  # fmt: skip
    except Exception as error:  # as above
        raise CheckpointError(f"{folder} cannot be read ({one_line(error)}); {AGAIN}.") from error
    net, said = made
    for problem in ("missing_keys", "mismatched_keys"):
        for found in sorted(map(str, said[problem])):
            what = "lacks" if problem == "missing_keys" else "has another shape of"
            raise CheckpointError(f"{folder} {what} the tensor {found}; {AGAIN}.")
    for name, weight in net.named_parameters():
        require_finite(folder, name, weight, AGAIN)
    return net.eval()


def processor(folder: Path) -> Any:
    """Its image processor. Raises CheckpointError."""
    from transformers import AutoImageProcessor

    try:  # in Pillow: with torchvision, where that is installed, the same picture has other features
        return AutoImageProcessor.from_pretrained(str(folder), backend="pil", local_files_only=True)
    except Exception as error:  # as above
        raise CheckpointError(
            f"{folder} has no image processor that can be read ({one_line(error)}); {AGAIN}."
        ) from error


def _chat(folder: Path, config: Any) -> Chat:
    stated = _object(folder / "tokenizer_config.json")
    variables = {
        name: token["content"] if isinstance(token, dict) else token
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if (token := stated.get(name)) is not None
    }
    file = folder / TOKENIZER
    eos = variables.get("eos_token")
    if not isinstance(eos, str):
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'} has eos_token={describe(eos)}: it must name the token "
            f"that ends a text; {AGAIN}."
        )
    tokenizer, marks = parse_tokenizer(file, _bytes(file), "a language model", [eos])
    end, image = marks[eos], config.image_token_id
    if image not in tokenizer.get_added_tokens_decoder():
        raise CheckpointError(
            f"{file} has no added token {image}, which {CONFIG} names as the place of a picture; {AGAIN}."
        )
    assert end is not None
    return Chat(tokenizer, _template(folder), variables, end, image)


def _template(folder: Path) -> str:
    for name in TEMPLATES:
        file = folder / name
        if not file.exists():
            continue
        found = (
            _bytes(file).decode(errors="replace")
            if file.suffix == ".jinja"
            else _object(file).get("chat_template")
        )
        if isinstance(found, str):
            return found
    raise CheckpointError(
        f"{folder} has no chat template in any of {', '.join(TEMPLATES)}; {AGAIN}."
    )


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(file))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON ({one_line(error)}); {AGAIN}.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} is {describe(found)} and no JSON object; {AGAIN}.")
    return found


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}); {AGAIN}.") from error
