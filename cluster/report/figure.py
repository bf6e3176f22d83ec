"""Charts of the report as one SVG file that stands alone.

Invariant: any viewer shows it alike: no script, no outside file, and the colours of the light page written
out, because few viewers but browsers know CSS variables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from cluster.report import charts

HERE = Path(__file__).parent
MARGIN, HEAD, LEGEND = 24, 26, 18
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@dataclass(frozen=True)
class Panel:
    """A chart under its title; `names` are those of its lines, if it has several."""

    title: str
    chart: Markup
    names: tuple[str, ...] = ()


def write(title: str, panels: Sequence[Panel], columns: int = 2) -> str:
    """The panels in so many columns, all as wide as the widest."""
    sizes = [_size(panel.chart) for panel in panels]
    width = max((w for w, _ in sizes), default=charts.WIDTH) + MARGIN
    parts, y = [Markup('<text class="title" x="{}" y="30">{}</text>').format(MARGIN, title)], 44.0
    for at in range(0, len(panels), columns):
        row = list(zip(panels[at : at + columns], sizes[at : at + columns], strict=True))
        for column, (panel, size) in enumerate(row):
            parts.append(_placed(panel, size, MARGIN + column * width, y))
        y += HEAD + LEGEND * any(panel.names for panel, _ in row) + MARGIN
        y += max(height for _, (_, height) in row)
    whole = MARGIN + min(columns, max(1, len(panels))) * width
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{0:g}" height="{1:g}" viewBox="0 0 {0:g} {1:g}" '
        'font-family="{2}"><style>{3}</style><rect width="100%" height="100%" fill="{4}"/>{5}</svg>\n'
    ).format(whole, y, FONT, Markup(_css()), _colors()["card"], Markup("").join(parts))


def _placed(panel: Panel, size: tuple[float, float], x: float, y: float) -> Markup:
    parts = [
        Markup('<text class="head" x="{:g}" y="{:g}">{}</text>').format(x, y + 14, panel.title)
    ]
    if panel.names:
        named = Markup("").join(
            Markup('<tspan class="i{}">●</tspan> {}   ').format(i, name) for i, name in enumerate(panel.names)
        )  # fmt: skip
        parts.append(Markup('<text class="legend" x="{:g}" y="{:g}">{}</text>')
                     .format(x, y + 14 + LEGEND, named))  # fmt: skip
    top = y + HEAD + LEGEND * bool(panel.names)
    parts.append(Markup('<svg x="{:g}" y="{:g}" width="{:g}" height="{:g}">{}</svg>')
                 .format(x, top, *size, panel.chart))  # fmt: skip
    return Markup("").join(parts)


def _size(chart: Markup) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', chart)
    assert found, "a chart says its size"
    return float(found[1]), float(found[2])


def _css() -> str:
    own = (
        ".title { font-size: 17px; font-weight: 680; fill: var(--ink); } "
        ".head { font-size: 14px; font-weight: 600; fill: var(--ink); } "
        ".legend { font-size: 12.5px; fill: var(--soft); white-space: pre; }\n"
    )
    dots = "".join(f".legend .i{i} {{ fill: var(--s{i}); }} " for i in range(4))
    text, colors = own + dots + (HERE / "charts.css").read_text(), _colors()
    return re.sub(r"var\(--([a-z0-9-]+)\)", lambda found: colors[found[1]], text)


def _colors() -> dict[str, str]:
    """Those of the light page, which stand first."""
    first, _, _ = (HERE / "report.css").read_text().partition("}")
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", first))
