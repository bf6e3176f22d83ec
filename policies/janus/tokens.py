"""The tokens that carry structure, and a tokenizer for which text is only ever text.

Invariant: no text, whatever it spells, encodes to a token of structure; those are put in by id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers

from policies.errors import one_line
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
    """The tokenizer that `file`, a tokenizer.json with the bytes `data`, describes, and the ids of
    its tokens of structure. Raises CheckpointError."""
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            f"{file} is not a tokenizer ({one_line(error)}); {_AGAIN}."
        ) from error
    names = REQUIRED | OPTIONAL
    ids: dict[str, Any] = {field: tokenizer.token_to_id(name) for field, name in names.items()}
    for field, name in REQUIRED.items():
        if ids[field] is None:
            raise CheckpointError(f"{file} has no token {name}, which Janus needs; {_AGAIN}.")
    if chance := getattr(tokenizer.model, "dropout", None):
        raise CheckpointError(
            f"{file} has model.dropout={chance}, which spells a text at random; {_AGAIN}."
        )
    # What a file says of batches is for whoever makes them: here a text is read whole, and alone.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _hide_marks(tokenizer)
    _spell_letters(tokenizer)
    _require_text(file, tokenizer)
    return tokenizer, Special(**ids)


def _hide_marks(tokenizer: Tokenizer) -> None:
    """Makes every mark special, because only special tokens can be kept from being found in a text.
    Single letters are no marks: as special tokens they would be dropped from what the model
    writes."""
    added = tokenizer.get_added_tokens_decoder().values()
    marks = [token.content for token in added if len(token.content) > 1]
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    tokenizer.encode_special_tokens = True


def _spell_letters(tokenizer: Tokenizer) -> None:
    """Makes added tokens of one letter decode as that letter. DeepSeek's tokenizer has such tokens,
    as ö, because their bytes occur in no other; the library would decode them as that one byte,
    which is no text."""
    added = tokenizer.get_added_tokens_decoder().values()
    letters = [token.content for token in added if len(token.content) == 1]
    if not letters or not isinstance(tokenizer.decoder, decoders.ByteLevel):
        return
    spelt = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rules = [
        decoders.Replace(letter, spelt.pre_tokenize_str(letter)[0][0])
        for letter in letters
        if not letter.isascii()
    ]
    tokenizer.decoder = decoders.Sequence([*rules, tokenizer.decoder])


def _require_text(file: Path, tokenizer: Tokenizer) -> None:
    """Raises CheckpointError where a mark, spelt out in a text, is read as the mark."""
    for name in (REQUIRED | OPTIONAL).values():
        try:
            ids = tokenizer.encode(name, add_special_tokens=False).ids
        except Exception as error:  # as above
            raise CheckpointError(
                f"{file} cannot read {name} ({one_line(error)}); {_AGAIN}."
            ) from error
        if tokenizer.token_to_id(name) in ids:
            raise CheckpointError(f"{file} takes {name} in a text for a mark; {_AGAIN}.")
