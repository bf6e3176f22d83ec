"""The tokens of a Chameleon that carry structure, and those that are image codes.

Invariant: code i of the image tokenizer is the token named IMGIMG, then i with A to J for its digits,
then Z; every code has one, and no text spells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from policies.errors import describe
from policies.interface import CheckpointError
from policies.tokenizer import AGAIN, TOKENIZER, parse_tokenizer

REQUIRED = {
    "bos": "<s>",
    "eos": "</s>",
    "pad": "<pad>",
    "separator": "<reserved08706>",  # between what is asked and the answer
    "begin_image": "<racm3:break>",
    "end_image": "<eoss>",
    "image": "<image>",
}
LETTERS = str.maketrans("0123456789", "ABCDEFGHIJ")


@dataclass(frozen=True, eq=False)
class Special:
    """Token ids; `codes` int64 [codes] has that of each image code."""

    bos: int
    eos: int
    pad: int
    separator: int
    begin_image: int
    end_image: int
    image: int
    codes: np.ndarray


def code_name(code: int) -> str:
    """The token of an image code: 305 is IMGIMGDAFZ."""
    return f"IMGIMG{str(code).translate(LETTERS)}Z"


def parse(folder: Path, data: bytes, vocabulary: object, codes: int) -> tuple[Tokenizer, Special]:
    """The tokenizer of `folder`, whose tokenizer.json has the bytes `data`, and the ids of its tokens
    of structure and of `codes` image codes. `vocabulary` is what config.json has as vocabulary_map,
    which must agree. Raises CheckpointError."""
    file = folder / TOKENIZER
    tokenizer, marks = parse_tokenizer(file, data, "Chameleon", REQUIRED.values())
    if not isinstance(vocabulary, Mapping):
        raise CheckpointError(
            f"{folder / 'config.json'} has no vocabulary_map, which names the image tokens; use the "
            "config.json that was published with these weights."
        )
    if len(mapped := [name for name in vocabulary if str(name).startswith("IMGIMG")]) != codes:
        raise CheckpointError(
            f"{folder / 'config.json'} has {len(mapped)} image tokens in its vocabulary_map, but "
            f"vq_config.num_embeddings={codes}; use the config.json that was published with these weights."
        )
    named = [code_name(code) for code in range(codes)]
    for name in (*named, REQUIRED["image"]):
        if vocabulary.get(name) is None or vocabulary[name] != tokenizer.token_to_id(name):
            raise CheckpointError(
                f"{folder / 'config.json'} has {describe(vocabulary.get(name))} for {name} in its "
                f"vocabulary_map, but {file.name} has {tokenizer.token_to_id(name)}; {AGAIN}."
            )
    ids = np.array([vocabulary[name] for name in named], dtype=np.int64)
    structure = {*ids.tolist(), *(marks[name] for name in REQUIRED.values())}
    _require_unspelt(file, tokenizer, [*named, *REQUIRED.values()], structure)
    special: dict[str, Any] = {field: marks[name] for field, name in REQUIRED.items()}
    return tokenizer, Special(**special, codes=ids)


def _require_unspelt(file: Path, tokenizer: Tokenizer, names: Sequence[str], ids: set[int]) -> None:
    """Raises CheckpointError where a token of structure or of an image, all of which have these `names`
    and `ids`, has another name as well, or where its name, spelt out, is read as it."""
    sharing = {name for name, token in tokenizer.get_vocab().items() if token in ids}
    for name in sorted(sharing.difference(names)):
        raise CheckpointError(
            f"{file} gives {describe(name)} the id of an image token or a mark; {AGAIN}."
        )
    read = tokenizer.encode_batch(list(names), add_special_tokens=False)
    for name, found in zip(names, read, strict=True):
        if ids.intersection(found.ids):
            raise CheckpointError(f"{file} takes {name} in a text for an image token; {AGAIN}.")
