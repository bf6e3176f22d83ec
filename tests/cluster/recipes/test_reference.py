"""The page of all settings says what the settings are."""

from __future__ import annotations

from pathlib import Path

from cluster.recipes import reference
from cluster.recipes.settings import names
from trainer.config import RunConfig

PAGE = Path(__file__).resolve().parents[3] / "docs" / "recipes.md"


def test_the_page_is_as_the_command_writes_it() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.page()


def test_every_field_has_a_row_with_a_description() -> None:
    rows = [line for line in reference.page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(list(names(RunConfig)))
    assert not [row for row in rows if row.endswith("| None |")]
