"""The tokens that carry structure, and a tokenizer for which text is only ever text.

Invariant: no text, whatever it spells, encodes to a token of structure; those are put in by id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from policies.errors import brief
from policies.interface import CheckpointError

TOKENIZER = "tokenizer.json"
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
_AGAIN = "copy it again from the checkpoint that these weights belong to"


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
    """`data` is what `file`, a tokenizer.json, holds. Raises CheckpointError."""
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"{file} is not a tokenizer ({brief(error)}); {_AGAIN}.") from error
    special = _special(file, tokenizer)
    _only_text(tokenizer)
    return tokenizer, special


def _special(file: Path, tokenizer: Tokenizer) -> Special:
    ids = {field: tokenizer.token_to_id(name) for field, name in (REQUIRED | OPTIONAL).items()}
    for field, name in REQUIRED.items():
        if ids[field] is None:
            raise CheckpointError(f"{file} has no token {name}, which Janus needs; {_AGAIN}.")
    return Special(**ids)


def _only_text(tokenizer: Tokenizer) -> None:
    """Added tokens that are letters (DeepSeek's has 13, such as ö) stay what they are: as special
    tokens they would be lost when an answer is decoded."""
    added = tokenizer.get_added_tokens_decoder().values()
    marks = [token for token in added if token.content.startswith("<")]
    tokenizer.add_special_tokens([AddedToken(token.content, special=True) for token in marks])
    tokenizer.encode_special_tokens = True
