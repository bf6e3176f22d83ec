"""The tokens that carry structure in what a Janus-Pro model reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from policies.tokenizer import parse_tokenizer

# The bar and the underline in the first three are no ASCII.
REQUIRED = {
    "bos": "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
    "eos": "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "pad": "<\uff5c\u2581pad\u2581\uff5c>",
    "begin_image": "<begin_of_image>",
    "end_image": "<end_of_image>",
    "image": "<image_placeholder>",
}
OPTIONAL = {"user": "<|User|>", "assistant": "<|Assistant|>"}


@dataclass(frozen=True)
class Special:
    """Token ids; a checkpoint without the tokens of the speakers has None for them."""

    bos: int
    eos: int
    pad: int
    begin_image: int
    end_image: int
    image: int
    user: int | None
    assistant: int | None


def parse(file: Path, data: bytes) -> tuple[Tokenizer, Special]:
    """The tokenizer that `file`, a tokenizer.json with the bytes `data`, describes, and the ids of
    its tokens of structure. Raises CheckpointError."""
    tokenizer, marks = parse_tokenizer(file, data, "Janus", REQUIRED.values(), OPTIONAL.values())
    ids: dict[str, Any] = {field: marks[name] for field, name in (REQUIRED | OPTIONAL).items()}
    return tokenizer, Special(**ids)
