"""Builds the dashboard as Grafana reads it, and writes it to disk.

Invariant: the JSON follows from the table of panels alone. It has the variables that the Ray
dashboard sets on what it embeds (datasource and SessionName), so that it can be shown there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.metrics import catalog
from cluster.grafana.panels import ROWS, Panel
from policies.errors import UserError

FILE = "unicorn_ray_dashboard.json"
ALERTS = "unicorn_ray_alerts.yml"
RAY_DATA = "data_grafana_dashboard.json"
WIDTH, HEIGHT, COLUMNS = 24, 8, 2
STAT_HEIGHT, STATS = 4, 6
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class DashboardError(UserError):
    """The dashboard cannot be written into the folder; the message names it."""


def write(folder: Path) -> list[Path]:
    """Writes the dashboard and the alert rules into `folder`; returns their paths. Raises
    DashboardError.

    The Ray dashboard finds Grafana's dashboards by names that Ray itself generated. If `folder`
    holds those files, ours replaces the one of Ray Data, which a run does not use.
    """
    file, uid = folder / FILE, "unicornRay"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / RAY_DATA).exists():
            file = folder / RAY_DATA
            uid = json.loads(file.read_text())["uid"]
        file.write_text(json.dumps(dashboard(uid), indent=1) + "\n")
        shutil.copy(Path(__file__).with_name("alerts.yml"), folder / ALERTS)
    except (OSError, ValueError, KeyError) as error:
        raise DashboardError(
            f"the dashboard cannot be put into {folder} ({error}); give a folder that can be "
            "written to, or that Ray wrote its own into"
        ) from error
    return [file, folder / ALERTS]


def dashboard(uid: str) -> dict[str, Any]:
    return {
        "uid": uid,
        "title": "unicorn-ray",
        "tags": ["unicorn-ray"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}
    metric = catalog.RUNNING.exported
    return [
        source,
        _variable("SessionName", f"label_values({metric}, SessionName)"),
        _variable("run", f'label_values({metric}{{SessionName=~"$SessionName"}}, run)'),
    ]


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name, "type": "query", "datasource": SOURCE, "query": query, "definition": query,
        "refresh": 2, "sort": 2, "includeAll": True, "multi": False, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for row in ROWS:
        yield {
            "id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }  # fmt: skip
        number, y = number + 1, y + 1
        columns, height = (
            (STATS, STAT_HEIGHT) if row.panels[0].kind == "stat" else (COLUMNS, HEIGHT)
        )
        for i, panel in enumerate(row.panels):
            width = WIDTH // columns
            place = {"x": i % columns * width, "y": y + i // columns * height,
                     "w": width, "h": height}  # fmt: skip
            yield _panel(panel, number, place)
            number += 1
        y += -(-len(row.panels) // columns) * height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.help,
        "gridPos": place, "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": query.expr,
             "legendFormat": query.legend, "range": True,
             "format": "heatmap" if panel.kind == "heatmap" else "time_series"}
            for i, query in enumerate(panel.queries)
        ],
    }  # fmt: skip
    if panel.kind == "timeseries":
        made["fieldConfig"]["defaults"]["custom"] = {"spanNulls": True, "showPoints": "auto"}
    if panel.kind == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    return made
