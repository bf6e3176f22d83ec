"""The texts of the instructions: data files, filled in here and nowhere else.

Invariant: a template that was loaded can be filled in: every entry is there, uses only fields that
exist, and all that its answer depends on. Filling in never reads what is filled in: a prompt with
a dollar sign in it stays as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any

from actors.category_shares import CategoryShares
from actors.roles.template_files import (
    COUNTED,
    FIELDS,
    NEW,
    Variants,
    read,
    read_persona,
    read_replies,
    read_variants,
    reply_keys,
    same_names,
    texts,
)
from actors.roles.topics import Kind, Topic, topics
from policies.config import ConfigError
from policies.interface import Context, Picture, Segment

DATA = Path(__file__).parent / "data"
SHOWN = {"before": str, "between": str}


@dataclass(frozen=True)
class Category:
    """What the Proposer must keep to, and what the Judge looks at, first things first."""

    rule: str
    rubric: tuple[str, ...]
    standard: tuple[str, ...]
    subcategories: tuple[str, ...]


class Templates:
    """The instructions of one template file. An instruction has one or more variants, alike in
    meaning: the roles use variant 0, learning may use them all."""

    def __init__(
        self,
        categories: dict[str, Category],
        variants: dict[str, Variants],
        demonstrations: tuple[str, str],
        persona: str | None = None,
        replies: dict[str, str] | None = None,
    ) -> None:
        self.categories = categories
        self._variants = variants
        self._before, self._between = demonstrations
        self._persona, self._replies = persona, replies or {}

    def variants(self, name: str) -> int:
        """How many ways there are to say `name`, such as "caption"; 0 of one that the file lacks."""
        return len(self._variants.get(name, ()))

    @property
    def takes_personas(self) -> bool:
        return self._persona is not None

    def counts(self, category: str) -> bool:
        """Whether the Judge is asked for quantities there."""
        return reply_keys(self._reply(category)) == COUNTED

    def topics(
        self,
        count: int,
        shares: CategoryShares,
        weights: Mapping[Kind, float] = MappingProxyType({}),
    ) -> list[Topic]:
        """What the first `count` prompts of a round are about."""
        kinds = {name: of.subcategories for name, of in self.categories.items()}
        return topics(kinds, shares, count, weights)

    def propose(
        self, category: str, subcategory: str, demonstrations: Sequence[str], persona: str = ""
    ) -> Context:
        shown = self._before + self._between.join(demonstrations) if demonstrations else ""
        played = (self._persona or "") + persona if persona else ""
        return self._fill("propose", 0, category=category, subcategory=subcategory, persona=played,
                          rule=self._of(category).rule, demonstrations=shown)  # fmt: skip

    def rate(self, prompt: str) -> Context:
        return self._fill("rate", 0, prompt=prompt)

    def judge(
        self,
        category: str,
        prompt: str,
        picture: Picture,
        variant: int = 0,
        picture_first: bool = False,
    ) -> Context:
        of = self._of(category)
        rubric = "\n".join(f"{i}. {line}" for i, line in enumerate(of.rubric, start=1))
        said = self._fill("judge", variant, category=category, prompt=prompt, picture=picture,
                          rubric=rubric, standard="\n".join(of.standard),
                          reply=self._reply(category))  # fmt: skip
        return tuple(sorted(said, key=lambda part: part is not picture)) if picture_first else said

    def caption(self, picture: Picture, variant: int = 0, name: str = "caption") -> Context:
        """By any instruction for captions, or by one of those named "infer"."""
        return self._fill(name, variant, picture=picture)

    def answer(self, picture: Picture, question: str) -> Context:
        return self._fill("answer", 0, picture=picture, question=question)

    def draw(self, prompt: str, variant: int = 0) -> Context:
        return self._fill("draw", variant, prompt=prompt)

    def reflection(
        self, prompt: str, picture: Picture, judgement: str, variant: int = 0
    ) -> Context:
        return self._fill("reflection", variant, prompt=prompt, picture=picture,
                          judgement=judgement)  # fmt: skip

    def repair(self, prompt: str, picture: Picture, variant: int = 0) -> Context:
        """A reflection without a judgement."""
        return self._fill("repair", variant, prompt=prompt, picture=picture)

    def _reply(self, category: str) -> str:
        return self._replies.get(category, self._replies.get("others", ""))

    def _of(self, category: str) -> Category:
        if category not in self.categories:
            known = ", ".join(self.categories)
            raise ConfigError(f"the category {category!r} has no rules; it must be one of {known}")
        return self.categories[category]

    def _fill(self, name: str, variant: int, **fields: Segment) -> Context:
        parts = self._variants[name][variant]
        return tuple(
            fields["picture"] if part == "$picture" else Template(part).substitute(fields)
            for part in parts
        )


def load_templates(name: str) -> Templates:
    """The templates that ship as `name`, or those of a file, where `name` ends in ".yaml".

    Raises ConfigError that names the file, the entry and the fix.
    """
    file = Path(name) if name.endswith(".yaml") else DATA / "templates" / f"{name}.yaml"
    if not file.is_file():
        shipped = sorted(path.stem for path in (DATA / "templates").glob("*.yaml"))
        near = difflib.get_close_matches(name, shipped, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"actors.templates is {name!r}: it must be one of {', '.join(shipped)} "
            f"or an existing .yaml file (the nearest is {near!r})"
        )
    data = read(file)
    own = data.pop("subcategories", {})
    shown, persona, replies = (data.pop(k, None) for k in ("demonstrations", "persona", "replies"))
    if not isinstance(shown, dict) or {k: type(v) for k, v in shown.items()} != SHOWN:
        raise ConfigError(f'{file}: demonstrations must have the texts "before" and "between"')
    same_names(file, "instructions", data, FIELDS, may_lack=NEW)
    variants = {entry: read_variants(file, entry, value) for entry, value in data.items()}
    categories = load_categories(own, file)
    persona = read_persona(file, persona, variants["propose"])
    replies = read_replies(file, replies, variants["judge"])
    if replies:
        known = [*categories, "others"]
        same_names(file, "replies", replies, known, may_lack=frozenset(categories))
    return Templates(categories, variants, (shown["before"], shown["between"]), persona, replies)


def load_categories(subcategories: dict[str, Any], source: Path) -> dict[str, Category]:
    """The ten categories; `subcategories` of the template file `source` replace their own."""
    file = DATA / "categories.yaml"
    data = read(file)
    if subcategories:
        same_names(source, "subcategories", subcategories, data)
    categories = {}
    for name, entry in data.items():
        same_names(file, name, entry, Category.__dataclass_fields__)
        kinds = subcategories.get(name, entry["subcategories"])
        lists = [texts(file, f"{name}.{key}", entry[key]) for key in ("rubric", "standard")]
        categories[name] = Category(entry["rule"].strip(), lists[0], lists[1],
                                    texts(source, f"subcategories of {name}", kinds))  # fmt: skip
    return categories
