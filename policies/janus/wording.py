"""What a Janus-Pro model reads: a conversation of one question, as it was published.

Invariant: text is only ever text. What looks like a special token in it is spelt out, so nobody's
prompt can open an image or end a turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from policies.checks import require_text
from policies.interface import Context, Picture
from policies.janus.tokens import Special
from policies.sampling import Ids
from policies.tokenizer import ids_of

# The reference's own, before questions about pictures; drawing has none (deepseek-ai/Janus).
SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language.\n\n"
)


class Wording:
    """`tokenizer` is a `tokenizers.Tokenizer` that knows no special token in a text."""

    def __init__(self, tokenizer: Any, special: Special) -> None:
        self.tokenizer, self.special = tokenizer, special

    def question(self, context: Context, looked: Mapping[int, range], drawing: bool) -> Ids:
        """The ids of `context`, up to where the answer or the drawing begins.

        `looked` has the ids of every picture's features, by its id().
        """
        special = self.special
        parts: list[str | int] = [special.bos]
        if not drawing:
            parts.append(SYSTEM)
        parts += ["<|User|>" if special.user is None else special.user, ":"]
        require_text(*(segment for segment in context if isinstance(segment, str)))
        said = [s if isinstance(s, Picture) else s.strip() for s in context]
        said = [segment for segment in said if segment != ""]
        for number, segment in enumerate(said):
            parts.append("\n" if number else " ")
            if isinstance(segment, Picture):
                features = looked[id(segment)]
                parts += [special.begin_image, *features, special.end_image]
            else:
                parts.append(segment)
        if said:  # the reference ends the turn of one who says nothing at once
            parts.append("\n\n")
        parts += ["<|Assistant|>" if special.assistant is None else special.assistant, ":"]
        if drawing:
            parts.append(special.begin_image)
        return ids_of(self.tokenizer, parts)

    def answer(self, text: str) -> Ids:
        require_text(text)
        return (*ids_of(self.tokenizer, [" " + text]), self.special.eos)

    def unconditional(self, question: Ids) -> Ids:
        """A question of a drawing without its condition: all of it padding but the first and the
        last token (deepseek-ai/Janus, generation_inference.py)."""
        first, *middle, last = question
        return (first, *[self.special.pad] * len(middle), last)

    def text(self, ids: Sequence[int]) -> str:
        """What was written."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()
