"""What the language model reads: one question in its own chat template.

Invariant: text is only ever text. The template is filled in with stand-ins, so that nobody's prompt
can open a picture or end a turn, and what it puts around them is read as the public tokenizer reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

from policies.checks import require_text
from policies.errors import one_line
from policies.interface import CheckpointError, Context, Picture
from policies.sampling import Ids

_OPEN, _CLOSE = "\ue000", "\ue001"
"""Around a stand-in's number: private characters, which no template has."""


@dataclass(frozen=True)
class Chat:
    """A tokenizer that knows no special token in a text, the chat template, its variables, such as
    bos_token, and the ids of the mark that ends an answer and of a picture's place."""

    tokenizer: Any
    template: str
    variables: Mapping[str, str]
    eos: int
    image: int


class Wording:
    """Raises CheckpointError where the template cannot be filled in; `where` is its file."""

    def __init__(self, chat: Chat, where: str) -> None:
        self.chat, self.tokenizer, self.where = chat, chat.tokenizer, where
        added = self.tokenizer.get_added_tokens_decoder()
        self._marks: dict[str, int] = {
            token.content: i for i, token in added.items() if len(token.content) > 1
        }
        spelt = sorted(self._marks, key=len, reverse=True)
        stand_in = f"{_OPEN}[0-9]+{_CLOSE}"
        self._cut = re.compile("(" + "|".join([stand_in, *map(re.escape, spelt)]) + ")")
        self._pieces = lru_cache(maxsize=1024)(self._filled)
        self._begin = self._prefix()
        self.end = self._ending()
        for kinds in ("t", "p", "tp", ""):
            self._require(kinds)

    # Questions and answers

    def question(self, context: Context, looked: Mapping[int, range]) -> Ids:
        """The ids up to where an answer begins; `looked` has those of every picture's features, by
        its id(). Raises PromptError."""
        require_text(*(segment for segment in context if isinstance(segment, str)))
        said = [segment for segment in context if segment != ""]
        pictures = iter([s for s in said if isinstance(s, Picture)])
        kinds = "".join("p" if isinstance(segment, Picture) else "t" for segment in said)
        parts: list[str | int] = []
        for piece in self._pieces(kinds):
            if piece == self.chat.image:
                parts += looked[id(next(pictures))]
            elif isinstance(piece, str) and piece.startswith(_OPEN):
                parts.append(str(said[int(piece[1:-1])]))
            else:
                parts.append(piece)
        return self._ids(parts)

    def answer(self, text: str) -> Ids:
        """Raises PromptError."""
        require_text(text)
        return (*self._ids([text]), self.end)

    def text(self, ids: Sequence[int]) -> str:
        decoded: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return decoded

    def _ids(self, parts: Iterable[str | int]) -> Ids:
        """Texts that follow each other are one text: a word may go on from one to the next."""
        ids: list[int] = []
        for is_text, run in groupby(parts, lambda part: isinstance(part, str)):
            if is_text:
                ids += self.tokenizer.encode("".join(map(str, run)), add_special_tokens=False).ids
            else:
                ids += map(int, run)
        return tuple(ids)

    # The template

    def _filled(self, kinds: str) -> tuple[str | int, ...]:
        """The template around texts (t) and pictures (p) in this order: ids of marks, texts, and
        stand-ins for the segments that are texts."""
        content = [
            {"type": "image"} if kind == "p" else {"type": "text", "text": f"{_OPEN}{i}{_CLOSE}"}
            for i, kind in enumerate(kinds)
        ]
        pieces = self._parted(self._render([{"role": "user", "content": content}], True))
        began = bool(self._begin) and pieces[: len(self._begin)] == list(self._begin)
        return (*(() if began else self._begin), *pieces)

    def _parted(self, rendered: str) -> list[str | int]:
        pieces = [piece for piece in self._cut.split(rendered) if piece]
        return [self._marks.get(p, p) for p in pieces]

    def _render(self, conversation: list[dict[str, Any]], asks: bool) -> str:
        from transformers.utils import chat_template_utils

        fill: Any = chat_template_utils.render_jinja_template
        try:
            (rendered,), _ = fill(
                conversations=[conversation], chat_template=self.chat.template,
                add_generation_prompt=asks, **self.chat.variables,
            )  # fmt: skip
        except Exception as error:  # whatever a template raises
            raise CheckpointError(
                f"{self.where} has a chat template that cannot be filled in ({one_line(error)}); copy "
                "it again from the language model."
            ) from error
        return str(rendered)

    def _require(self, kinds: str) -> None:
        pieces = self._pieces(kinds)
        stand_ins = [f"{_OPEN}{i}{_CLOSE}" for i, kind in enumerate(kinds) if kind == "t"]
        kept = [piece for piece in pieces if isinstance(piece, str) and piece[0] == _OPEN]
        if kept != stand_ins or pieces.count(self.chat.image) != kinds.count("p"):
            raise CheckpointError(
                f"{self.where} has a chat template that does not keep each text and picture of a "
                "question once; use that of a vision-language model."
            )

    def _prefix(self) -> Ids:
        """What the tokenizer puts before every text."""
        whole, bare = (self.tokenizer.encode("a", add_special_tokens=s).ids for s in (True, False))
        return tuple(whole[: len(whole) - len(bare)]) if whole[-len(bare) :] == bare else ()

    def _ending(self) -> int:
        """The mark that the template puts behind an answer, or else the tokenizer's own end."""
        said = [
            {"role": role, "content": [{"type": "text", "text": f"{_OPEN}{i}{_CLOSE}"}]}
            for i, role in enumerate(("user", "assistant"))
        ]
        pieces = self._parted(self._render(said, False))
        answer = f"{_OPEN}1{_CLOSE}"
        after = pieces[pieces.index(answer) + 1 :] if answer in pieces else []
        following = [piece for piece in after if not isinstance(piece, str) or piece.strip()]
        return following[0] if following and isinstance(following[0], int) else self.chat.eos
