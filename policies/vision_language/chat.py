"""A conversation with a vision-language model, in the words of its own chat template.

Invariant: text is only ever text. The template is filled with places for what is said, and what is said
goes into these places after the marks of structure have become ids; so nobody's text can open a picture,
end a turn or become a call. What is written after a conversation is what would be learned there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from policies.checks import require_text
from policies.errors import one_line
from policies.interface import CheckpointError, Picture, Segment
from policies.sampling import Ids
from policies.stored_tensors import AGAIN

Role = Literal["user", "assistant"]
Turn = tuple[Role, tuple[Segment, ...]]
Shape = tuple[tuple[Role, str], ...]
"""Of turns, who speaks and the kinds of what is said: t for a text, p for a picture."""
TEMPLATE, OLD_TEMPLATE = "chat_template.jinja", "chat_template.json"
ELSEWHERE = (OLD_TEMPLATE, "processor_config.json", "tokenizer_config.json")
# Of the private use area, where no template has anything.
PLACE = "\ue0f0{}\ue0f1"
DAY = "26 Jul 2024"
"""For templates that tell the date: another day must not be another conversation."""


@dataclass(frozen=True)
class Read:
    """A conversation as `ids`, its pictures in their order, and where the ids of each answer are, the one
    that ends it included."""

    ids: Ids
    pictures: tuple[Picture, ...]
    answers: tuple[range, ...]


def asked(*segments: Segment) -> Turn:
    """What somebody says to the model: texts that follow each other are on lines of their own."""
    said: list[Segment] = []
    for segment in segments:
        if isinstance(segment, str) and said and isinstance(said[-1], str):
            said[-1] += f"\n{segment}"
        else:
            said.append(segment)
    return "user", tuple(said)


def answered(text: str) -> Turn:
    """What the model said."""
    return "assistant", (text,)


def shape_of(turns: Sequence[Turn]) -> Shape:
    """All that a template sees of a conversation."""
    return tuple(
        (role, "".join("p" if isinstance(segment, Picture) else "t" for segment in said))
        for role, said in turns
    )


def template_of(folder: Path, files: Mapping[str, bytes]) -> str:
    """The chat template among the small files of `folder`. Raises CheckpointError."""
    if TEMPLATE in files:
        return files[TEMPLATE].decode(errors="replace")
    for name in ELSEWHERE:
        try:
            found = json.loads(files.get(name, b"{}")).get("chat_template")
        except (ValueError, RecursionError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / name} is not JSON ({one_line(error)}); {AGAIN}."
            ) from error
        if isinstance(found, str):
            return found
    raise CheckpointError(
        f"{folder} has no chat template (in {TEMPLATE} or {', '.join(ELSEWHERE)}): it is no model to talk "
        "to, or they were not copied."
    )


class Chat:
    """`mark` stands for a picture in the template; `end` is the token that ends an answer where the
    template puts none, and `names` has variables of the template, such as bos_token. Raises CheckpointError for a
    template that does not fit."""

    def __init__(
        self, folder: Path, template: str, tokenizer: Tokenizer, mark: str, end: int | None,
        names: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.folder, self.template, self.tokenizer, self.mark = folder, template, tokenizer, mark
        self.names = {"bos_token": "", "eos_token": "", "date_string": DAY, **names}
        self._filled = lru_cache(maxsize=1024)(self._fill)
        added = tokenizer.get_added_tokens_decoder()
        self.marks = {token.content: id_ for id_, token in added.items() if len(token.content) > 1}
        if mark not in self.marks:
            raise CheckpointError(
                f"{folder} has {mark} for pictures, which is no token of its own; {AGAIN}."
            )
        found = sorted(map(re.escape, self.marks), key=len, reverse=True)
        self.cut = re.compile("|".join([PLACE.format(r"\d+"), *found]))
        self.image = self.marks[mark]
        first = tokenizer.encode("a", add_special_tokens=False).ids
        # Of SentencePiece: a text begins as if a space were before it.
        self.spaced = bool(first) and (tokenizer.id_to_token(first[0]) or "").startswith("▁")
        self.lead, self.end = self._around(end)
        self.begin = self._begin()
        self._fill((("user", "pt"),), True)  # a template that knows no pictures is refused now

    def read(self, turns: Sequence[Turn], counts: Iterable[int], answering: bool) -> Read:
        """The conversation, up to where the next answer begins if one is asked for; the pictures take
        `counts` tokens, in their order. Raises PromptError."""
        said = [segment for _, content in turns for segment in content]
        require_text(*(segment for segment in said if isinstance(segment, str)))
        texts = [segment for segment in said if isinstance(segment, str)]
        whose = [role for role, content in turns for s in content if isinstance(s, str)]
        counted, ids = iter(counts), list(self.begin)
        answers: list[range] = []
        waiting = ""

        def flush(without: str = "") -> None:
            nonlocal waiting
            ids.extend(self._plain(waiting.removesuffix(without)))
            waiting = ""

        pieces = list(self._filled(shape_of(turns), answering))
        for place, piece in enumerate(pieces):
            if isinstance(piece, str):
                waiting += piece
            elif piece < 0 and whose[-1 - piece] == "user":
                waiting += texts[-1 - piece]
            elif piece < 0:
                flush(self.lead)
                start = len(ids)
                ids.extend(self.answer(texts[-1 - piece]))
                answers.append(range(start, len(ids)))
                if pieces[place + 1 : place + 2] == [self.end]:
                    pieces[place + 1] = ""  # the answer has it already
            else:
                flush()
                ids.extend([piece] * (next(counted) if piece == self.image else 1))
        flush()
        pictures = tuple(segment for segment in said if isinstance(segment, Picture))
        return Read(tuple(ids), pictures, tuple(answers))

    def answer(self, text: str) -> Ids:
        """The ids of an answer and of its end. Raises PromptError."""
        require_text(text)
        lead = self.lead[1:] if self.spaced and self.lead.startswith(" ") else self.lead
        return (*(self._plain(lead + text) if text else ()), self.end)

    def text_of(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.removeprefix(self.lead)

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids) if text else []

    def _fill(self, shape: Shape, answering: bool) -> tuple[str | int, ...]:
        return tuple(self._pieces(self._rendered(shape, answering)))

    def _rendered(self, shape: Shape, answering: bool) -> str:
        """The template's text, with places for what is said."""
        from transformers.utils.chat_template_utils import render_jinja_template

        number, messages = 0, []
        for role, said in shape:
            parts: list[dict[str, str]] = []
            for kind in said:
                if kind == "p":
                    parts.append({"type": "image"})
                else:
                    parts.append({"type": "text", "text": PLACE.format(number)})
                    number += 1
            messages.append({"role": role, "content": parts})
        fill: Any = render_jinja_template
        try:
            rendered = fill(
                [messages],
                chat_template=self.template,
                add_generation_prompt=answering,
                **self.names,
            )
        except Exception as error:  # whatever a template of others leads to
            raise CheckpointError(
                f"the chat template of {self.folder} cannot be filled in ({one_line(error)}); {AGAIN}."
            ) from error
        text: str = rendered[0][0]
        shown = sum(said.count("p") for _, said in shape)
        if text.count(self.mark) != shown or text.count(PLACE[0]) != number:
            raise CheckpointError(
                f"the chat template of {self.folder} leaves out a text or a picture ({self.mark}) of a "
                "conversation between user and assistant; use a model that is told pictures and texts."
            )
        return text

    def _pieces(self, rendered: str) -> list[str | int]:
        """Texts, the ids of marks, and -1 - i for the place of text i."""
        pieces: list[str | int] = []
        at = 0
        for found in self.cut.finditer(rendered):
            pieces.append(rendered[at : found.start()])
            spelt = found.group()
            pieces.append(self.marks[spelt] if spelt in self.marks else -1 - int(spelt[1:-1]))
            at = found.end()
        return [piece for piece in [*pieces, rendered[at:]] if piece != ""]

    def _around(self, end: int | None) -> tuple[str, int]:
        """What the template puts before an answer, and the token that ends one."""
        before = self._rendered((("user", "t"),), True)
        whole = self._rendered((("user", "t"), ("assistant", "t")), False)
        if not whole.startswith(before) or PLACE.format(1) not in whole:
            raise CheckpointError(
                f"the chat template of {self.folder} puts something else before an answer that was given "
                "than before one that is asked for; use a model without such a template."
            )
        lead, after = whole[len(before) :].split(PLACE.format(1), 1)
        following = self._pieces(after)
        if following and isinstance(following[0], int):
            return lead, following[0]
        if end is None or self.tokenizer.id_to_token(end) is None:
            raise CheckpointError(
                f"{self.folder} names no token that ends a text: neither its chat template nor "
                "eos_token_id in generation_config.json and config.json does."
            )
        return lead, end

    def _begin(self) -> Ids:
        """What the tokenizer puts before a text, unless the template does."""
        encoded = self.tokenizer.encode("a")
        begins: list[int] = []
        for id_, special in zip(encoded.ids, encoded.special_tokens_mask, strict=True):
            if not special:
                break
            begins.append(id_)
        first = self._filled((("user", "t"),), True)[:1]
        return () if list(first) == begins[:1] else tuple(begins)
