"""Personas and seed prompts from outside, which a run may begin its prompts with.

Invariant: a file is read whole or refused with one sentence that names the file, the line, the field
and the fix. What a prompt gets of it follows from (seed, round, number of the prompt) and the file,
and whatever it touched names the file with the beginning of its sha256.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from actors.config import ProposerConfig
from actors.roles.answers import is_text
from actors.roles.topics import Topic, field_of, share_of
from actors.storage import storage
from actors.storage.paths import parse_path
from policies.config import ConfigError
from policies.errors import UserError, describe, one_line
from policies.seeds import generator

MAJOR, SUB, SEED = COLUMNS = ("Major Category", "Subcategory", "Seed")
OTHER_NAMES = {
    "relational operations": "object relations",  # the released code's
    "spatial reasoning": "spatio reasoning",
}

SeedPrompts = dict[str, dict[str, dict[str, None]]]
"""By category and subcategory, each once, in the order of the file."""


@dataclass(frozen=True)
class Outside:
    """What outside files offer; nothing where there are none."""

    personas: tuple[str, ...] = ()
    seed_prompts: SeedPrompts = field(default_factory=dict)
    external: str = ""
    """Names the files, in every record that they touched."""

    def add(self, topic: Topic, seed: int, round_: int, most: int) -> Topic:
        """The topic with a persona, and with 1 to `most` seed prompts of one subcategory."""
        key = (seed, round_, topic.number)
        if self.personas:
            number = int(generator("persona", *key).integers(len(self.personas)))
            topic = topic._replace(persona=self.personas[number])
        if self.seed_prompts:
            random = generator("seed prompts", *key)
            kinds = self.seed_prompts[topic.category]
            kind = list(kinds)[int(random.integers(len(kinds)))]
            shown = _some(list(kinds[kind]), most, random)
            topic = topic._replace(subcategory=kind, demonstrations=shown)
        return topic._replace(external=self.external)


def load_outside(config: ProposerConfig, categories: Collection[str]) -> Outside:
    """Reads the files that the recipe names. Raises ConfigError."""
    outside, names = Outside(), []
    if config.personas:
        text, name = _text("personas", config.personas)
        outside = replace(outside, personas=tuple(_personas(text, config.personas)))
        names.append(f"personas {name}")
    if config.seed_prompts:
        text, name = _text("seed_prompts", config.seed_prompts)
        found = _seed_prompts(text, config.seed_prompts, categories)
        _require_all(found, config, categories)
        outside = replace(outside, seed_prompts=found)
        names.append(f"seed prompts {name}")
    return replace(outside, external=", ".join(names))


def _some(offered: list[str], most: int, random: np.random.Generator) -> tuple[str, ...]:
    count = int(random.integers(1, min(most, len(offered)) + 1))
    return tuple(offered[i] for i in random.choice(len(offered), size=count, replace=False))


def _text(setting: str, path: str) -> tuple[str, str]:
    """What the file says, and its name for records."""
    where = parse_path(path)
    try:
        with storage.open_file(where, patience_s=0) as file:
            data = file.read()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: this is not UTF-8 ({error.reason}): save the file as UTF-8"
        ) from error
    except UserError:
        raise
    except OSError as error:
        raise ConfigError(
            f"proposer.{setting} is {path!r}, which cannot be read ({error.strerror or error}): "
            "name a file that is there, or leave the field empty"
        ) from error
    return text, f"{where.name} {hashlib.sha256(data).hexdigest()[:8]}"


def _personas(text: str, path: str) -> Iterator[str]:
    rows = [(number, row) for number, row in enumerate(text.split("\n"), 1) if row.strip()]
    if not rows:
        raise ConfigError(f'{path} has no persona: write lines such as {{"persona": "a baker"}}')
    for number, row in rows:
        try:
            found = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{path}, line {number}: not JSON ({one_line(error)}): write one object a line"
            ) from error
        persona = found.get("persona") if isinstance(found, Mapping) else None
        if persona is None or not is_text(persona) or not persona.strip():
            raise ConfigError(
                f"{path}, line {number}: persona is {describe(persona)}: it must be a text that is "
                "not empty"
            )
        yield persona.strip()


def _seed_prompts(text: str, path: str, categories: Collection[str]) -> SeedPrompts:
    found: SeedPrompts = {}
    for line, row in _rows(text, path):
        for column in COLUMNS:
            if not is_text(row[column]) or not row[column].strip():
                raise ConfigError(f"{path}, line {line}: {column} is empty: fill it in")
        named = " ".join(row[MAJOR].replace("_", " ").split()).casefold()
        category = OTHER_NAMES.get(named, named)
        if category not in categories:
            raise ConfigError(
                f"{path}, line {line}: {MAJOR} is {describe(row[MAJOR])}: it must be one of "
                f"{', '.join(categories)}"
            )
        kinds = found.setdefault(category, {})
        kinds.setdefault(row[SUB].strip(), {})[" ".join(row[SEED].split())] = None
    return found


def _rows(text: str, path: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with the number of the line that each ends on."""
    # Lines are handed over as they are: a quoted field may hold some.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        names = [name.strip() for name in header]
        if missing := [column for column in COLUMNS if names.count(column) != 1]:
            raise ConfigError(
                f"{path}, line 1: the column {missing[0]} must be there once: begin the file with "
                f"{','.join(COLUMNS)}"
            )
        for row in filter(None, reader):
            if len(row) != len(names):
                raise ConfigError(
                    f"{path}, line {reader.line_num}: it has {len(row)} fields and the header "
                    f"{len(names)}: put a {SEED} with commas in double quotes"
                )
            yield reader.line_num, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}: not CSV ({one_line(error)}): mend its quotes"
        ) from error


def _require_all(found: SeedPrompts, config: ProposerConfig, categories: Collection[str]) -> None:
    for category in categories:
        if category not in found and share_of(config.category_shares, category) > 0:
            raise ConfigError(
                f"{config.seed_prompts} has no row whose {MAJOR} is {category}: add one, or set "
                f"proposer.category_shares.{field_of(category)} to 0"
            )
