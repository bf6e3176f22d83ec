"""Fills a page's template, with the style that all pages share.

Invariant: every text is escaped, and the page refers to no script, style or font from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

HERE = Path(__file__).parent
STYLES = ("charts.css", "report.css")
"""Those of the page last, for it may show a chart larger."""


def filled(template: str, page: Mapping[str, Any]) -> str:
    """The page, from what its template knows as `page`."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"score": _score, "tick": _tick}
    css = Markup("".join((HERE / name).read_text() for name in STYLES))
    return environment.get_template(template).render(page=page, css=css).strip() + "\n"


def _score(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}".removesuffix(".0")


def _tick(right: bool) -> Markup:
    return Markup('<span class="{}">{}</span>').format(
        "yes" if right else "no", "✓" if right else "·"
    )
