"""A tokenizer of the tiny world: one token for a word of the tiny world or a piece of JSON, and bytes.

Invariant: `decode(encode(text)) == text` for every text. A word that is not known is spelt in bytes,
which the model never learned, so it is read without meaning but without failing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from policies.tiny.text import NUMBERS, PIECES, QUOTES

_PIECE = "|".join(re.escape(piece).replace(r"\ ", " ") for piece in PIECES)
_TOKEN = rf"(?:{_PIECE})|(?: ?(?:(?!{_PIECE})\S)+)|\s"


def build_tokenizer(words: Iterable[str], marks: Iterable[str]) -> Tokenizer:
    """A tokenizer of these words, each with and without the space before it, and of special tokens."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    known = dict.fromkeys([*sorted(letters), *map(_spelt, _tokens(words))])
    model = models.BPE({name: i for i, name in enumerate(known)}, [], ignore_merges=True)
    made = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(_TOKEN), "isolated")
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, spell])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in marks])
    return made


def words_of(text: str) -> list[str]:
    """The words of a text in their order, without spaces and without pieces of JSON."""
    found = (each.strip() for each in re.findall(_TOKEN, text))
    return [each for each in found if each and each not in PIECES]


def twins(tokenizer: Tokenizer) -> list[tuple[int, int]]:
    """The ids of each word that is known with and without the space before it."""
    vocabulary, space = tokenizer.get_vocab(), _spelt(" ")
    pairs = ((name, vocabulary.get(space + name)) for name in sorted(vocabulary))
    return [(vocabulary[name], other) for name, other in pairs if other is not None]


def _tokens(words: Iterable[str]) -> Iterator[str]:
    yield from PIECES
    for word in (*QUOTES, *NUMBERS, *words):
        yield word
        yield f" {word}"


def _spelt(text: str) -> str:
    """The text in the letters that stand for its bytes."""
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(part for part, _ in spell.pre_tokenize_str(text))
