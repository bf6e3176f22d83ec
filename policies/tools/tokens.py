"""Which words of a tokenizer a call may go on with: the automaton of bytes, taken word by word.

Invariant: what is sampled under a `CallGuide` is a whole call within its limit of words, and what
`Rules.along` gives for a call is what it was sampled among.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from policies.config import ConfigError
from policies.tokenizer import byte_letters
from policies.tools.grammar import DEAD, Automaton

SPACE = "▁"


class Vocabulary:
    """The bytes of each of `words` tokens: b"" where a token is a mark, or none. Raises ConfigError for
    a tokenizer whose tokens are no bytes."""

    def __init__(self, tokenizer: Tokenizer, words: int) -> None:
        marks = {
            id_
            for id_, token in tokenizer.get_added_tokens_decoder().items()
            if len(token.content) > 1
        }
        spell = _speller(tokenizer)
        self.bytes = [
            b"" if id_ in marks or (name := tokenizer.id_to_token(id_)) is None else spell(name)
            for id_ in range(words)
        ]
        known = set(self.bytes)
        missing = [chr(byte) for byte in range(0x20, 0x7F) if bytes([byte]) not in known]
        if missing:
            raise ConfigError(
                f"policy.path names a tokenizer without a token for {missing[0]!r} alone, without which a "
                "call could not always be ended: use a model with a tokenizer of bytes"
            )
        # Longest first, so that those with a byte at a place stand before the others.
        lengths = np.array([len(spelt) for spelt in self.bytes])
        self.order = np.argsort(-lengths, kind="stable")
        self.counts = [int((lengths > at).sum()) for at in range(int(lengths.max()))]
        self.letters = [
            np.array([self.bytes[i][at] for i in self.order[:count]], np.uint8)
            for at, count in enumerate(self.counts)
        ]

    def after(self, automaton: Automaton, state: int) -> np.ndarray:
        """The state after each token, int16 [words]; DEAD after those that have no bytes."""
        states = np.full(len(self.bytes), state, np.int16)
        for count, letters in zip(self.counts, self.letters, strict=True):
            states[:count] = automaton.table[states[:count], letters]
        states[self.counts[0] :] = DEAD
        found = np.empty_like(states)
        found[self.order] = states
        return found

    def spelt(self, ids: Sequence[int]) -> bytes:
        return b"".join(self.bytes[id_] for id_ in ids)


def _speller(tokenizer: Tokenizer) -> Callable[[str], bytes]:
    """What turns a token's name into its bytes."""
    described = repr(tokenizer.decoder)
    if "ByteLevel" in described:
        return _byte_level()
    if "ByteFallback" in described:
        return _sentence_piece
    raise ConfigError(
        "policy.path names a tokenizer whose tokens are no bytes (neither byte-level BPE nor SentencePiece "
        "with byte fallback): calls cannot be written by it; use another model"
    )


def _byte_level() -> Callable[[str], bytes]:
    letters = {letter: byte for byte, letter in enumerate(byte_letters())}

    def spelt(name: str) -> bytes:
        known = all(letter in letters for letter in name)
        return bytes(letters[letter] for letter in name) if known else name.encode()

    return spelt


def _sentence_piece(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace(SPACE, " ").encode()


class Rules:
    """What a call may be in the words of one tokenizer; `end` is the token that ends it."""

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary, end: int) -> None:
        self.automaton, self.vocabulary, self.end = automaton, vocabulary, end
        self._after: dict[int, np.ndarray] = {}

    @property
    def fewest(self) -> int:
        """Words that a call always fits into, with its end."""
        return int(self.automaton.distance[self.automaton.start]) + 1

    def after(self, state: int) -> np.ndarray:
        if state not in self._after:
            self._after[state] = self.vocabulary.after(self.automaton, state)
        return self._after[state]

    def allowed(self, state: int, left: int, may_end: bool = False) -> np.ndarray:
        """Of each word, whether it may come next where `left` more fit, this one and the end included,
        bool [words]. `may_end`: nothing is a call too."""
        automaton, after = self.automaton, self.after(state)
        may: np.ndarray = (after != DEAD) & (automaton.distance[after] + 2 <= left)
        may[self.end] = state == automaton.final or (may_end and state == automaton.start)
        return may

    def along(self, ids: Sequence[int], most: int, may_end: bool) -> np.ndarray:
        """Among what each of the `ids` of a call, its end included, was chosen, bool [ids, words], where
        calls have `most` words. A text in other words than those that it was sampled in may need more."""
        states = [self.automaton.start]
        for id_ in ids[:-1]:
            states.append(int(self.after(states[-1])[id_]))
        needs = [int(self.automaton.distance[s]) + 1 + at for at, s in enumerate(states)]
        left = max(most, *needs)
        return np.stack(
            [self.allowed(state, left - at, may_end) for at, state in enumerate(states)]
        )


class CallGuide:
    """A `policies.vision_language.writing.Guide`; `most` words are in each row's call."""

    def __init__(self, rules: Rules, most: Sequence[int], may_end: bool) -> None:
        self.rules, self.may_end = rules, may_end
        self.left = np.array(most)
        self.states = np.full(len(most), rules.automaton.start)

    def masked(self, logits: Tensor) -> Tensor:
        rows = zip(self.states, self.left, strict=True)
        may = np.stack([self.rules.allowed(int(s), int(left), self.may_end) for s, left in rows])
        return logits.masked_fill(~torch.from_numpy(may).to(logits.device), -torch.inf)

    def advance(self, ids: Tensor) -> None:
        self.left = self.left - 1
        chosen = zip(self.states, ids.tolist(), strict=True)
        self.states = np.array([self._next(int(state), id_) for state, id_ in chosen])

    def _next(self, state: int, id_: int) -> int:
        # Rows that have ended are carried along for a while.
        return state if id_ == self.rules.end else int(self.rules.after(state)[id_])

    def keep(self, rows: Tensor) -> None:
        at = rows.cpu().numpy()
        self.left, self.states = self.left[at], self.states[at]
