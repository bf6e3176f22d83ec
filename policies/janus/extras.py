"""The small files beside the weights, as a checkpoint has them and as transformers needs them.

Invariant: with what `completed` returns, transformers' own AutoProcessor, JanusProcessor and
`generate` take a saved folder as it is. What a checkpoint states for these classes is kept; a file
that it wrote for DeepSeek's own classes, which transformers does not have, is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from policies.errors import describe
from policies.interface import CheckpointError
from policies.janus.processor import PREPROCESSOR, prepared, require_same
from policies.janus.tokens import REQUIRED, Special
from policies.small_files import fields_of
from policies.stored_tensors import AGAIN
from policies.tokenizer import TOKENIZER

PROCESSOR, GENERATION = "processor_config.json", "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE, OLD_TEMPLATE = "chat_template.jinja", "chat_template.json"
NESTED = "image_processor"
"""Where transformers since its version 5 keeps the fields of preprocessor_config.json."""
NAMES = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    PREPROCESSOR,
    PROCESSOR,
    GENERATION,
    OLD_TEMPLATE,
    TEMPLATE,
)
# The conversation of `policies.janus.wording`; JanusProcessor puts the system prompt before it.
CONVERSATION = """\
{%- for message in messages -%}
{%- set user = message['role'] == 'user' -%}
{{ '<|User|>: ' if user else '<|Assistant|>: ' }}
{%- if message['content'] is string -%}
{{ message['content'].strip() }}
{%- else -%}
{%- for part in message['content'] -%}
{{ '' if loop.first else '\\n' }}
{{- '<image_placeholder>' if part['type'] == 'image' else part['text'].strip() }}
{%- endfor -%}
{%- endif -%}
{{ '\\n\\n' if user else END }}
{%- endfor -%}
{{ '<|Assistant|>:' if add_generation_prompt }}""".replace("END", repr(REQUIRED["eos"]))


def completed(
    folder: Path, extras: Mapping[str, bytes], config: Any, special: Special, ours: bool
) -> dict[str, bytes]:
    """Those of `extras`, which are of `folder`, that `NAMES` names, with what transformers' classes need of
    a JanusConfig; `ours` says whether the layout is transformers'. Raises CheckpointError."""
    stated = {name: fields_of(folder / name, extras[name]) for name in _CLASSES if name in extras}
    _require_same(folder, stated, config)
    made = {name: extras[name] for name in NAMES if name in extras}
    for name, needed in _needed(config, special).items():
        given = stated.get(name, {})
        if name == PREPROCESSOR and NESTED in stated.get(PROCESSOR, {}):
            continue  # transformers reads that one
        if any(given.get(field) not in known for field, known in _CLASSES[name].items()):
            given = {}
        if (whole := _filled(given, needed)) != given:
            made[name] = json.dumps(whole, indent=2).encode() + b"\n"
    if not {TEMPLATE, OLD_TEMPLATE} & made.keys():
        made[TEMPLATE] = CONVERSATION.encode()
    if not ours:
        made[TOKENIZER] = _beginning(made[TOKENIZER], special.bos)
    return made


def _require_same(folder: Path, stated: Mapping[str, Mapping[str, Any]], config: Any) -> None:
    """Raises CheckpointError where pictures would be prepared, or counted, in another way."""
    vision, processor = config.vision_config, stated.get(PROCESSOR, {})
    require_same(folder / PREPROCESSOR, stated.get(PREPROCESSOR, {}), vision.image_size)
    if not isinstance(nested := processor.get(NESTED, {}), dict):
        raise CheckpointError(
            f"{folder / PROCESSOR} has {NESTED}={describe(nested)}, which is no object; {AGAIN}."
        )
    require_same(folder / PROCESSOR, nested, vision.image_size, f"{NESTED}.")
    features = vision.num_image_tokens
    if (found := processor.get("num_image_tokens", features)) != features:
        raise CheckpointError(
            f"{folder / PROCESSOR} has num_image_tokens={describe(found)}, but config.json has "
            f"{features}; {AGAIN}."
        )


# By file, the fields that name a class, with what transformers can read there.
_CLASSES: dict[str, dict[str, tuple[str | None, ...]]] = {
    PREPROCESSOR: {
        "image_processor_type": (None, "JanusImageProcessor", "JanusImageProcessorFast",
                                 "JanusImageProcessorPil"),
        "processor_class": (None, "JanusProcessor"),
    },
    PROCESSOR: {"processor_class": (None, "JanusProcessor")},
    TOKENIZER_CONFIG: {"processor_class": (None, "JanusProcessor")},
    GENERATION: {},
}  # fmt: skip


def _needed(config: Any, special: Special) -> dict[str, dict[str, Any]]:
    """By file, the fields without which transformers' classes do otherwise than Janus does."""
    vision, text = config.vision_config, config.text_config
    return {
        PREPROCESSOR: prepared(vision.image_size),
        PROCESSOR: {
            "processor_class": "JanusProcessor",
            "num_image_tokens": vision.num_image_tokens,
            "use_default_system_prompt": True,
        },
        TOKENIZER_CONFIG: {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": text.max_position_embeddings,
            "padding_side": "left",
            "clean_up_tokenization_spaces": False,
            "bos_token": REQUIRED["bos"],
            "eos_token": REQUIRED["eos"],
            "pad_token": REQUIRED["pad"],
            "image_token": REQUIRED["image"],
            "boi_token": REQUIRED["begin_image"],
            "eoi_token": REQUIRED["end_image"],
        },
        GENERATION: {
            "bos_token_id": special.bos,
            "eos_token_id": special.eos,
            "pad_token_id": special.pad,
            "guidance_scale": 5,
            "generation_kwargs": {"boi_token_id": special.begin_image},
        },
    }


def _filled(given: Mapping[str, Any], needed: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with those of `needed` that it leaves out or has as null, within objects too."""
    named = given.get("extra_special_tokens")  # where transformers 4 names tokens too
    inside = named if isinstance(named, dict) else {}
    whole = dict(given)
    for field, value in needed.items():
        if isinstance(value, dict) and isinstance(given.get(field), dict):
            whole[field] = _filled(given[field], value)
        elif given.get(field) is None and field not in inside:
            whole[field] = value
    return whole


def _beginning(data: bytes, bos: int) -> bytes:
    """The tokenizer.json `data` so that a text begins with `bos`. DeepSeek leaves that to a class;
    transformers since its version 5 does it only where tokenizer.json says so."""
    tokenizer = Tokenizer.from_buffer(data)
    if tokenizer.encode("").ids[:1] == [bos]:
        return data
    name = REQUIRED["bos"]
    token = {"SpecialToken": {"id": name, "type_id": 0}}
    text, second = ({"Sequence": {"id": place, "type_id": 0}} for place in "AB")
    rule = {
        "type": "TemplateProcessing",
        "single": [token, text],
        "pair": [token, text, second],
        "special_tokens": {name: {"id": name, "ids": [bos], "tokens": [name]}},
    }
    return json.dumps(json.loads(data) | {"post_processor": rule}, ensure_ascii=False).encode()
