"""The plot of a study, from its results alone, by the charts of the report.

Invariant: a point is the mean over seeds, and its whisker goes from the least to the most of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from cluster.report import charts, figure
from cluster.report.figure import Panel
from cluster.studies.results import MEASURES

SHOWN = ("right_best", "hard_best", "captions", "questions")
INSTEAD = {"right_best": "right", "hard_best": "hard"}
"""What is shown where no best setting is measured."""
LABELS = {measure.key: measure.label for measure in MEASURES}


def plot(found: dict[str, Any]) -> str:
    """The whole plot.svg."""
    measured = {key for arm in found["arms"].values() for key in arm["measures"]}
    keys = [key if key in measured else INSTEAD.get(key, key) for key in SHOWN]
    draw = {"arm": _by_arm, "x": _by_x, "version": _by_version}[found["axis"]]
    title = f"{found['study']}: {found['title']}" if found["title"] else str(found["study"])
    panels = [draw(found, key) for key in keys if key in measured]
    return figure.write(title, panels, columns=1 if found["axis"] == "arm" else 2)


def _by_arm(found: dict[str, Any], key: str) -> Panel:
    arms = [
        (arm["label"], arm["measures"][key])
        for arm in found["arms"].values()
        if key in arm["measures"]
    ]
    rows = [(label, own["base"]["mean"], own["last"]["mean"]) for label, own in arms]
    reach = {label: (own["last"]["least"], own["last"]["most"]) for label, own in arms}
    return Panel(
        f"{LABELS[key]}, %: base (grey) and last version", charts.slopes(rows, within=reach)
    )


def _by_x(found: dict[str, Any], key: str) -> Panel:
    arms = sorted(
        (arm for arm in found["arms"].values() if key in arm["measures"]), key=lambda arm: arm["x"]
    )
    sides = {name: {arm["x"]: arm["measures"][key][side] for arm in arms}
             for name, side in (("last version", "last"), ("base", "base"))}  # fmt: skip
    return _lines(key, sides, found["x_label"] or "x")


def _by_version(found: dict[str, Any], key: str) -> Panel:
    series = {
        arm["label"]: {float(version): each for version, each in arm["versions"][key].items()}
        for arm in found["arms"].values()
        if key in arm["versions"]
    }
    return _lines(key, series, "version")


def _lines(key: str, series: Mapping[str, Mapping[float, Any]], x_label: str) -> Panel:
    points = {name: [(x, each["mean"]) for x, each in own.items()] for name, own in series.items()}
    spans = {name: [(x, each["least"], each["most"]) for x, each in own.items()]
             for name, own in series.items()}  # fmt: skip
    chart: Markup = charts.lines(points, x_label, "%", most=100, within=spans)
    return Panel(LABELS[key], chart, tuple(series) if len(series) > 1 else ())
