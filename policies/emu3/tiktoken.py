"""The released vocabulary of an Emu3 (emu3.tiktoken and emu3_vision_tokens.txt) as a tokenizer.json.

Invariant: a text has the ids that the released tokenizer gives it: it is normalised to NFC, cut by
the released pattern, and in each piece the two neighbours whose join has the lowest rank are joined,
again and again; a piece that is a token itself is that token. (baaivision/Emu3,
emu3/mllm/tokenization_emu3.py; the scheme is that of the library tiktoken.)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from policies.emu3.tokens import REQUIRED
from policies.errors import describe, one_line
from policies.interface import CheckpointError
from policies.tokenizer import byte_letters

RANKS, PICTURE_TOKENS = "emu3.tiktoken", "emu3_vision_tokens.txt"
AGAIN = "copy it again from the checkpoint that these weights belong to"
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RESERVED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205)))
"""The marks whose ids follow those of words, before those of the file of picture tokens."""
GIVEN_AWAY = "<|extra_0|>"
"""The reserved mark whose id transformers' layout gives to the placeholder of a picture."""
LONGEST = 2**10
"""Bytes of a word, at most: more than any that was released."""


def tokenizer(folder: Path, files: Mapping[str, bytes]) -> Tokenizer:
    """Of `files`, the contents by name of the two in `folder`. Raises CheckpointError."""
    ranks = parse_ranks(folder / RANKS, files[RANKS])
    marks = [REQUIRED["placeholder"] if mark == GIVEN_AWAY else mark for mark in RESERVED]
    marks += _lines(folder / PICTURE_TOKENS, files[PICTURE_TOKENS])
    if len(set(marks)) < len(marks):
        twice = next(mark for mark in marks if marks.count(mark) > 1)
        raise CheckpointError(f"{folder / PICTURE_TOKENS} has {describe(twice)} twice; {AGAIN}.")
    return join(ranks, marks)


def join(ranks: Mapping[bytes, int], marks: Sequence[str]) -> Tokenizer:
    """A tokenizer of words with these ranks, which are their ids, and of `marks` after them."""
    letters = byte_letters()
    spelt = {word: "".join(letters[byte] for byte in word) for word in ranks}
    merges = [
        (spelt[word[:cut]], spelt[word[cut:]])
        for word, _ in sorted(ranks.items(), key=lambda item: item[1])
        for cut in range(1, len(word))
        if word[:cut] in ranks and word[cut:] in ranks
    ]
    vocabulary = {spelt[word]: rank for word, rank in ranks.items()}
    made = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    return made


def parse_ranks(file: Path, data: bytes) -> dict[bytes, int]:
    """Every word of an emu3.tiktoken with the bytes `data`, a line each: its base64, a space and its
    rank. Raises CheckpointError unless the ranks count from 0 on and every byte is a word."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            word, rank = line.split()
            read = base64.b64decode(word, validate=True)
            at = int(rank)
        except (ValueError, binascii.Error) as error:
            raise CheckpointError(
                f"{file} has no word in base64 and its rank on line {number} ({one_line(error)}); {AGAIN}."
            ) from error
        if at != len(ranks) or read in ranks or not 0 < len(read) <= LONGEST:
            raise CheckpointError(
                f"{file} has {describe(read)} with rank {at} on line {number}, which is not a new word "
                f"with rank {len(ranks)}; {AGAIN}."
            )
        ranks[read] = at
    if lacking := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise CheckpointError(f"{file} has no word for the byte {lacking[0]}; {AGAIN}.")
    return ranks


def _lines(file: Path, data: bytes) -> list[str]:
    try:
        lines = [line.strip() for line in data.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file} is no text ({one_line(error)}); {AGAIN}.") from error
    return [line for line in lines if line]
