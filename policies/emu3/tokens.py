"""The tokens that carry structure in what an Emu3 model reads, and the codes of pictures.

Invariant: codes have consecutive ids, after those of all words and of the end of a text; so a slice
of the vocabulary is what a text, or a drawing, may hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from policies.interface import CheckpointError
from policies.tokenizer import AGAIN, parse_tokenizer

REQUIRED = {
    "bos": "<|extra_203|>",
    "eos": "<|extra_204|>",
    "pad": "<|endoftext|>",
    "end_row": "<|extra_200|>",
    "end_frame": "<|extra_201|>",
    "image": "<|image token|>",
    "begin_image": "<|image start|>",
    "end_image": "<|image end|>",
    "placeholder": "<image>",
}
"""`placeholder` stands for a picture in transformers' prompts alone; `image` follows a picture's sizes."""


def code_name(code: int) -> str:
    return f"<|visual token {code:06d}|>"


@dataclass(frozen=True)
class Special:
    """Token ids. Words are those below `words`, and code i of the `codes` has id `first + i`."""

    bos: int
    eos: int
    pad: int
    end_row: int
    end_frame: int
    image: int
    begin_image: int
    end_image: int
    placeholder: int
    first: int
    codes: int

    @property
    def words(self) -> int:
        return min(self.image, self.begin_image, self.end_image, self.first)


def parse(file: Path, data: bytes, codes: int) -> tuple[Tokenizer, Special]:
    """The tokenizer that `file`, a tokenizer.json with the bytes `data`, describes, and the ids of
    its tokens of structure and of its `codes`. Raises CheckpointError."""
    needed = (*REQUIRED.values(), code_name(0))
    tokenizer, marks = parse_tokenizer(file, data, "Emu3", needed)
    ids = {field: marks[name] or 0 for field, name in REQUIRED.items()}
    special = Special(**ids, first=marks[code_name(0)] or 0, codes=codes)
    for code in range(codes):
        if (found := tokenizer.token_to_id(code_name(code))) != special.first + code:
            raise CheckpointError(
                f"{file} has {code_name(code)} as {found}, but the {codes} codes follow each other "
                f"from {special.first} on; {AGAIN}."
            )
    if special.eos >= special.words:
        raise CheckpointError(
            f"{file} has {REQUIRED['eos']} as {special.eos}, among the tokens of pictures from "
            f"{special.words} on; {AGAIN}."
        )
    return tokenizer, special
