"""The texts of the instructions: data files, filled in here and nowhere else.

Invariant: a template that was loaded can be filled in: every entry is there, uses only fields that
exist, and all that its answer depends on. Filling in never reads what is filled in: a prompt with
a dollar sign in it stays as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from policies.config import ConfigError
from policies.errors import describe, one_line
from policies.interface import Context, Picture, Segment

DATA = Path(__file__).parent / "data"
# For each instruction the fields that it must use, and those that it may.
FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "propose": (frozenset({"category", "subcategory", "demonstrations"}), frozenset({"rule"})),
    "rate": (frozenset({"prompt"}), frozenset()),
    "judge": (frozenset({"prompt", "picture"}), frozenset({"category", "rubric", "standard"})),
    "caption": (frozenset({"picture"}), frozenset()),
    "answer": (frozenset({"picture", "question"}), frozenset()),
    "draw": (frozenset({"prompt"}), frozenset()),
    "reflection": (frozenset({"prompt", "picture", "judgement"}), frozenset()),
}
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
        variants: dict[str, tuple[tuple[str, ...], ...]],
        demonstrations: tuple[str, str],
    ) -> None:
        self.categories = categories
        self._variants = variants
        self._before, self._between = demonstrations

    def variants(self, name: str) -> int:
        """How many ways there are to say `name`, such as "caption"."""
        return len(self._variants[name])

    def topic(self, number: int) -> tuple[int, str, str]:
        """What prompt `number` of a round is about: (number, category, subcategory), in turns."""
        names = list(self.categories)
        turn, place = divmod(number, len(names))
        kinds = self.categories[names[place]].subcategories
        return number, names[place], kinds[turn % len(kinds)]

    def propose(self, category: str, subcategory: str, demonstrations: Sequence[str]) -> Context:
        shown = self._before + self._between.join(demonstrations) if demonstrations else ""
        return self._fill("propose", 0, category=category, subcategory=subcategory,
                          rule=self._of(category).rule, demonstrations=shown)  # fmt: skip

    def rate(self, prompt: str) -> Context:
        return self._fill("rate", 0, prompt=prompt)

    def judge(self, category: str, prompt: str, picture: Picture, variant: int = 0) -> Context:
        of = self._of(category)
        rubric = "\n".join(f"{i}. {line}" for i, line in enumerate(of.rubric, start=1))
        return self._fill("judge", variant, category=category, prompt=prompt, picture=picture,
                          rubric=rubric, standard="\n".join(of.standard))  # fmt: skip

    def caption(self, picture: Picture, variant: int = 0) -> Context:
        return self._fill("caption", variant, picture=picture)

    def answer(self, picture: Picture, question: str) -> Context:
        return self._fill("answer", 0, picture=picture, question=question)

    def draw(self, prompt: str, variant: int = 0) -> Context:
        return self._fill("draw", variant, prompt=prompt)

    def reflection(
        self, prompt: str, picture: Picture, judgement: str, variant: int = 0
    ) -> Context:
        return self._fill("reflection", variant, prompt=prompt, picture=picture,
                          judgement=judgement)  # fmt: skip

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
    data = _read(file)
    own = data.pop("subcategories", {})
    shown = data.pop("demonstrations", None)
    if not isinstance(shown, dict) or {k: type(v) for k, v in shown.items()} != SHOWN:
        raise ConfigError(f'{file}: demonstrations must have the texts "before" and "between"')
    _same_names(file, "instructions", data, FIELDS)
    variants = {entry: _variants(file, entry, value) for entry, value in data.items()}
    return Templates(load_categories(own, file), variants, (shown["before"], shown["between"]))


def load_categories(subcategories: dict[str, Any], source: Path) -> dict[str, Category]:
    """The ten categories; `subcategories` of the template file `source` replace their own."""
    file = DATA / "categories.yaml"
    data = _read(file)
    if subcategories:
        _same_names(source, "subcategories", subcategories, data)
    categories = {}
    for name, entry in data.items():
        _same_names(file, name, entry, Category.__dataclass_fields__)
        kinds = subcategories.get(name, entry["subcategories"])
        lists = [_texts(file, f"{name}.{key}", entry[key]) for key in ("rubric", "standard")]
        categories[name] = Category(entry["rule"].strip(), lists[0], lists[1],
                                    _texts(source, f"subcategories of {name}", kinds))  # fmt: skip
    return categories


def _read(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except Exception as error:  # PyYAML meets some tags, escapes and depths with errors of any kind
        raise ConfigError(f"{file} is not YAML: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file} is {type(data).__name__}: it must be a mapping of names")
    return data


def _same_names(file: Path, what: str, found: Any, wanted: Any) -> None:
    names = set(found) if isinstance(found, dict) else set()
    if names != set(wanted):
        odd = sorted(map(str, names.symmetric_difference(wanted)))
        raise ConfigError(
            f"{file}: {what} must be exactly {', '.join(wanted)}; look at {', '.join(odd)}"
        )


def _texts(file: Path, where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise ConfigError(
            f"{file}: {where} is {describe(value)}: it must be a list of one or more texts"
        )
    return tuple(text.strip("\n") for text in value)


def _variants(file: Path, entry: str, value: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{file}: {entry} must be a list of variants, each a list of texts")
    variants = tuple(_texts(file, entry, variant) for variant in value)
    for variant in variants:
        _check_fields(file, entry, variant)
    return variants


def _check_fields(file: Path, entry: str, variant: tuple[str, ...]) -> None:
    """Refuses unknown and missing fields when the file is read, not when a run needs them."""
    needed, allowed = FIELDS[entry]
    used: set[str] = set()
    for text in variant:
        template = Template(text)
        if not template.is_valid():
            raise ConfigError(f"{file}: {entry}: a lone $ in {text!r} must be written $$")
        used.update(template.get_identifiers())
        if "picture" in template.get_identifiers() and text != "$picture":
            raise ConfigError(f"{file}: {entry}: $picture must stand alone, not in {text!r}")
    for name in sorted(used - needed - allowed):
        fields = sorted(needed | allowed)
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"{file}: {entry}: there is no field ${name}; use ${', $'.join(fields)} "
            f"(the nearest is ${near})"
        )
    if missing := sorted(needed - used):
        raise ConfigError(f"{file}: {entry}: the field ${missing[0]} is missing; put it in")
