"""The words of a Show-o, and the texts around them.

Invariant: text is only ever text: no text encodes to a mark of structure, for the tokenizer does not
know the marks, and what it knows itself is spelt out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policies.checks import require_text
from policies.interface import CheckpointError
from policies.sampling import Ids
from policies.tokenizer import AGAIN, parse_tokenizer

END = "<|endoftext|>"


class Words:
    """`tokenizer` is Phi's; one token begins and ends every text."""

    def __init__(self, tokenizer: Any, end: int) -> None:
        self.tokenizer, self.end = tokenizer, end
        self.count: int = tokenizer.get_vocab_size(with_added_tokens=True)

    def ids(self, text: str) -> Ids:
        """Raises PromptError."""
        require_text(text)
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def answer(self, text: str) -> Ids:
        """With its end. Raises PromptError."""
        return (*self.ids(f" {text}"), self.end)

    def text(self, ids: Sequence[int]) -> str:
        """What was written; codes of drawings and marks say nothing."""
        words = [word for word in ids if word < self.count]
        written: str = self.tokenizer.decode(words, skip_special_tokens=True)
        return written.strip()


def parse(file: Path, data: bytes) -> Words:
    """The words of `file`, a tokenizer.json with the bytes `data`. Raises CheckpointError."""
    tokenizer, marks = parse_tokenizer(file, data, "Show-o", (END,))
    end = marks[END]
    assert end is not None
    words = Words(tokenizer, end)
    if (most := max(tokenizer.get_vocab().values())) != words.count - 1:
        raise CheckpointError(
            f"{file} has {words.count} tokens, but numbers them up to {most}; {AGAIN}."
        )
    return words
