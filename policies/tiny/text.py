"""The tokenizer: words, numbers, JSON and image codes in one vocabulary.

Invariant: `decode(encode(text)) == text` for known words separated by single spaces, and for
`json.dumps` of the program's own records made of such words. The order of tokens is fixed:
structure, `</s>`, JSON pieces and words, image codes; so the tokens that may be written and those
that may be drawn are two contiguous ranges of the vocabulary.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from policies.checks import require_text
from policies.errors import describe, one_line
from policies.interface import CheckpointError, PromptError

PAD, BOS, SEP, IMAGE, END_IMAGE, EOS = range(6)
# </s> comes last: from it on, every token up to the image codes may be written.
SPECIALS = ("<pad>", "<s>", "<sep>", "<image>", "</image>", "</s>")
# One token for each piece of JSON structure, so that a tiny model writes strict JSON cheaply.
PIECES = (
    '{"analysis": "',
    '", "score": ',
    '{"score": ',
    '{"major_category": "',
    '", "subcategory": "',
    '", "prompt": "',
    '"}',
    "}",
)
# A quotation mark is a word; inside a JSON string it is written \" and is another word.
QUOTES = ('"', '\\"')
NUMBERS = tuple(str(n) for n in range(11))
_PIECE = "|".join(re.escape(piece).replace(r"\ ", " ") for piece in PIECES)
_TOKEN = rf"(?:{_PIECE})|(?:(?!{_PIECE})\S)+"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "clean_up_tokenization_spaces": False,
    "padding_side": "left",
}


def build_tokenizer(words: Iterable[str], codes: int = 1000) -> Tokenizer:
    """Returns a word-level tokenizer for `words` (in order, without repeats) and `codes` image
    codes.

    Raises ValueError for a word that holds white space or is reserved.
    """
    fixed = (*SPECIALS, *PIECES, *QUOTES, *NUMBERS)
    chosen = dict.fromkeys(fixed)
    for word in words:
        if re.fullmatch(_TOKEN, word) is None or re.fullmatch(r"<img_\d+>", word):
            raise ValueError(f"The word {word!r} cannot be a token; use one without spaces or }}.")
        if word in SPECIALS or word in PIECES:
            raise ValueError(f"The word {word!r} is reserved; choose another spelling.")
        chosen[word] = None
    names = [*chosen, *(f"<img_{code}>" for code in range(codes))]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_TOKEN), "removed", invert=True)
    # WordPiece joins with spaces, as no token starts with its prefix; JSON pieces then drop theirs.
    glue = [decoders.Replace(Regex(f" ?{re.escape(piece)} ?"), piece) for piece in PIECES]
    joined = decoders.WordPiece(prefix="\x00", cleanup=False)
    tokenizer.decoder = decoders.Sequence([joined, decoders.Fuse(), *glue])
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return tokenizer


class Text:
    """Converts texts to token ids and back. `code_offset` is the id of image code 0, `size` the
    number of tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        if any(vocabulary.get(name) != i for i, name in enumerate((*SPECIALS, *PIECES))):
            raise ValueError("its special tokens are not those of a tiny policy")
        self.size = len(vocabulary)
        self.code_offset = vocabulary.get("<img_0>", self.size)
        if any(vocabulary.get(f"<img_{i}>") != self.code_offset + i for i in range(self.codes)):
            raise ValueError("its image codes are not the last tokens of the vocabulary")
        first = len(SPECIALS)
        # By id: the library returns them in an order that changes from process to process.
        ordered = sorted(vocabulary.items(), key=lambda item: item[1])
        self.words = dict(ordered[first : self.code_offset])
        self._match = re.compile(_TOKEN)

    @property
    def codes(self) -> int:
        return self.size - self.code_offset

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Reads `folder`/tokenizer.json. Raises CheckpointError."""
        file = folder / TOKENIZER_FILE
        try:
            return cls(Tokenizer.from_file(str(file)))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise CheckpointError(
                f"{file} is not the tokenizer of a tiny policy ({one_line(error)}); copy it again "
                "from the checkpoint that these weights belong to."
            ) from error

    def save_pretrained(self, folder: Path, max_length: int) -> None:
        self.tokenizer.save(str(folder / TOKENIZER_FILE))
        config = {**TOKENIZER_CONFIG, "model_max_length": max_length}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    def encode(self, text: str) -> list[int]:
        """Returns the token ids. Raises PromptError for a word that is not in the vocabulary."""
        require_text(text)
        found = self._match.findall(text)
        try:
            return [self.words[token] for token in found]
        except KeyError:
            raise self._unknown(found, text) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`, without structure tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _unknown(self, found: list[str], text: str) -> PromptError:
        place, word = next((i, w) for i, w in enumerate(found) if w not in self.words)
        known = [w for w in self.words if w not in PIECES]
        near = difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.5)
        hint = f"the nearest known words are {', '.join(near)}" if near else "use known words"
        return PromptError(
            f"The model does not know {describe(word)} (word {place + 1} of {describe(text)}); {hint}."
        )
