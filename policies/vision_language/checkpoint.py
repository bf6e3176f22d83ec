"""The public folder of a vision-language model of transformers, in and out.

Invariant: a folder is read whole or refused with one sentence that names the file. Weights are read and
written by transformers' own classes, which know the names that each model was published with; what they
would make up by chance is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from policies.errors import describe, one_line, printable
from policies.interface import CheckpointError
from policies.named_tensors import require_finite
from policies.saving import SHARD, remove, save_small
from policies.small_files import fields_of, read_files
from policies.stored_tensors import AGAIN, opened
from policies.tokenizer import TOKENIZER, parse_tokenizer
from policies.vision_language.chat import Chat, template_of
from policies.vision_language.seeing import PREPROCESSOR, Eye, eye_of, quiet

MODEL = "vision-language model"
CONFIG, GENERATION = "config.json", "generation_config.json"
KEPT = (
    TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", PREPROCESSOR, "video_preprocessor_config.json", "processor_config.json",
    "chat_template.json", "chat_template.jinja", GENERATION,
)  # fmt: skip
"""The small files that a saved folder has again as they were read."""
NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class Small:
    """All of a checkpoint but its weights; `files` are those of `KEPT`, by name."""

    config: Any
    tokenizer: Tokenizer
    chat: Chat
    eye: Eye
    files: dict[str, bytes]


@dataclass(frozen=True)
class Loaded:
    """`net` is one of transformers' classes "for conditional generation", in eval mode."""

    net: Any
    small: Small


def read_small(folder: Path) -> Small:
    """Raises CheckpointError."""
    files = read_files(folder, KEPT, (TOKENIZER, PREPROCESSOR), MODEL)
    config = config_in(folder)
    tokenizer, _ = parse_tokenizer(folder / TOKENIZER, files[TOKENIZER], f"a {MODEL}", ())
    image = getattr(config, "image_token_id", None)
    mark = None if image is None else tokenizer.id_to_token(image)
    if mark is None:
        raise CheckpointError(
            f"{folder / CONFIG} has image_token_id={describe(image)}, which {TOKENIZER} does not know; "
            f"{AGAIN}."
        )
    names = _names(folder, files)
    ends = _ends(folder, files, config)
    if ends is None:
        ends = tokenizer.token_to_id(names.get("eos_token", ""))
    chat = Chat(folder, template_of(folder, files), tokenizer, mark, ends, names)
    return Small(config, tokenizer, chat, eye_of(folder, config), files)


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were. Raises CheckpointError."""
    from transformers import AutoModelForImageTextToText

    read: Any = AutoModelForImageTextToText.from_pretrained
    small = read_small(folder)
    for name, (file, tensor) in opened(folder).tensors.items():
        require_finite(file, name, tensor, AGAIN)
    try:
        with quiet():
            net, report = read(
                folder, config=small.config, dtype=dtype, local_files_only=True,
                output_loading_info=True, ignore_mismatched_sizes=True,  # they are told below
            )  # fmt: skip
    except Exception as error:  # whatever files that do not belong together lead a model's class to
        raise CheckpointError(
            f"{folder} cannot be read as a {small.config.model_type} ({one_line(error)}); {AGAIN}."
        ) from error
    _require_all(folder, report)
    return Loaded(net.eval(), small)


def save(folder: Path, loaded: Loaded) -> None:
    """Writes the layout that the model was published in. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    remove(folder, "model*.safetensors*")
    with quiet():
        loaded.net.save_pretrained(folder, max_shard_size=SHARD)
    save_small(folder, KEPT, loaded.small.files)


def blank(config: Any) -> Any:
    """A model of these sizes whose weights take no memory."""
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def config_of(file: Path, fields: Mapping[str, Any]) -> Any:
    """The configuration that `file` describes by these fields. Raises CheckpointError."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    kind = fields.get("model_type")
    if not isinstance(kind, str) or kind not in KNOWN:
        raise CheckpointError(
            f"{file} is of model_type {describe(kind)}, which transformers has no vision-language model "
            "of; give the folder of one, such as qwen2_5_vl or llava."
        )
    try:
        config = AutoConfig.for_model(
            kind, **{k: v for k, v in fields.items() if k != "model_type"}
        )
    except Exception as error:  # whatever wrong fields lead a configuration's class to
        raise CheckpointError(
            f"{file} does not describe a {kind} ({one_line(error)}); {AGAIN}."
        ) from error
    for field in ("final_logit_softcapping", "logit_scale"):
        if getattr(config.get_text_config(), field, None) is not None:
            raise CheckpointError(
                f"{file} has {field} of text_config set: models whose logits are changed after their "
                "head are not known here; use another model."
            )
    return config


def config_in(folder: Path) -> Any:
    """The configuration in `folder`. Raises CheckpointError."""
    return config_of(folder / CONFIG, fields_in(folder))


def fields_in(folder: Path) -> dict[str, Any]:
    """What its config.json says. Raises CheckpointError."""
    return fields_of(folder / CONFIG, read_files(folder, [CONFIG], [CONFIG], MODEL)[CONFIG])


def _names(folder: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """The tokens that a chat template may ask for, as tokenizer_config.json names them."""
    name = "tokenizer_config.json"
    found = fields_of(folder / name, files[name]) if name in files else {}
    named = {each: found.get(each) for each in NAMED}
    spelt = {n: t.get("content") if isinstance(t, dict) else t for n, t in named.items()}
    return {name: text for name, text in spelt.items() if isinstance(text, str)}


def _ends(folder: Path, files: Mapping[str, bytes], config: Any) -> int | None:
    """The token that ends a text where the chat template names none."""
    said = fields_of(folder / GENERATION, files[GENERATION]) if GENERATION in files else {}
    for where in (
        said.get("eos_token_id"),
        getattr(config.get_text_config(), "eos_token_id", None),
    ):
        first = where[0] if isinstance(where, list) and where else where
        if isinstance(first, int) and not isinstance(first, bool):
            return first
    return None


def _require_all(folder: Path, report: Mapping[str, Any]) -> None:
    """Raises CheckpointError for weights that no file had, or that no model of this kind has."""
    for field, problem in (
        ("missing_keys", "lacks the tensor"),
        ("unexpected_keys", "has an unknown tensor"),
        ("mismatched_keys", "has, in another shape than its config.json says, the tensor"),
    ):
        names = (each if isinstance(each, str) else each[0] for each in report.get(field) or ())
        if found := sorted(names):
            raise CheckpointError(
                f"{folder} {problem} {printable(found[0])}; use the weights that belong to this "
                f"{CONFIG}."
            )
