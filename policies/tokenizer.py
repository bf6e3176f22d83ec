"""A public tokenizer.json, read so that text is only ever text.

Invariant: no text, whatever it spells, encodes to a token of structure; those are put in by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers

from policies.errors import one_line
from policies.interface import CheckpointError

TOKENIZER = "tokenizer.json"
AGAIN = "copy it again from the checkpoint that these weights belong to"


def parse_tokenizer(
    file: Path, data: bytes, model: str, required: Iterable[str], optional: Iterable[str] = ()
) -> tuple[Tokenizer, Mapping[str, int | None]]:
    """The tokenizer that `file`, a tokenizer.json with the bytes `data`, describes, and the id of
    each of its marks, which are tokens of structure. Raises CheckpointError where one of those that
    are `required` by the `model` is missing."""
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"{file} is not a tokenizer ({one_line(error)}); {AGAIN}.") from error
    required = tuple(required)
    marks = {name: tokenizer.token_to_id(name) for name in (*required, *optional)}
    for name in required:
        if marks[name] is None:
            raise CheckpointError(f"{file} has no token {name}, which {model} needs; {AGAIN}.")
    if chance := getattr(tokenizer.model, "dropout", None):
        raise CheckpointError(
            f"{file} has model.dropout={chance}, which spells a text at random; {AGAIN}."
        )
    # What a file says of batches is for whoever makes them: here a text is read whole, and alone.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _hide_marks(tokenizer)
    _spell_letters(tokenizer)
    _require_text(file, tokenizer, marks)
    return tokenizer, marks


def ids_of(tokenizer: Tokenizer, parts: Iterable[str | int]) -> tuple[int, ...]:
    """Of texts, and of ids among them. Texts that follow each other are one text: a word may go on from
    one to the next."""
    ids: list[int] = []
    for is_text, run in groupby(parts, lambda part: isinstance(part, str)):
        if is_text:
            ids += tokenizer.encode("".join(map(str, run)), add_special_tokens=False).ids
        else:
            ids += map(int, run)
    return tuple(ids)


def _hide_marks(tokenizer: Tokenizer) -> None:
    """Makes every mark special, because only special tokens can be kept from being found in a text.
    Single letters and runs of spaces are no marks: as special tokens they would be dropped from what
    the model writes."""
    added = tokenizer.get_added_tokens_decoder().values()
    marks = [t.content for t in added if len(t.content) > 1 and not t.content.isspace()]
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    tokenizer.encode_special_tokens = True


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level tokenizer.json: itself where it can be printed,
    and otherwise one of those from 256 on, in their order (GPT-2)."""
    shown = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in shown else next(hidden)) for byte in range(256)]


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


def _require_text(file: Path, tokenizer: Tokenizer, marks: Iterable[str]) -> None:
    """Raises CheckpointError where a mark, spelt out in a text, is read as the mark."""
    for name in marks:
        try:
            ids = tokenizer.encode(name, add_special_tokens=False).ids
        except Exception as error:  # as above
            raise CheckpointError(
                f"{file} cannot read {name} ({one_line(error)}); {AGAIN}."
            ) from error
        if tokenizer.token_to_id(name) in ids:
            raise CheckpointError(f"{file} takes {name} in a text for a mark; {AGAIN}.")
