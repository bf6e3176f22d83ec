"""The dashboard and the alerts name what is exported, and alerts go off when they must."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from actors.metrics.catalog import ALL
from cluster.grafana.dashboard import ALERTS, FILE, RAY_DATA, DashboardError, dashboard, write
from tests.cluster.grafana.prometheus import ROOT, promtool

GRAFANA = ROOT / "cluster" / "grafana"
RULES = (GRAFANA / "alerts.yml").read_text()
PANELS = dashboard("any")["panels"]
ASKED = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]


def named(text: str) -> set[str]:
    found = set(re.findall(r"\bray_unicorn_\w+", text))
    return {name.removesuffix("_bucket") for name in found}


def test_names_are_of_exported_metrics_and_all_of_them_are_shown() -> None:
    exported = {metric.exported for metric in ALL}
    assert named(" ".join(ASKED)) == exported
    assert named(RULES) <= exported


def test_every_query_is_of_the_chosen_run_alone() -> None:
    for expr in ASKED:
        for series in re.findall(r"ray_\w+(?:\{.*?\})?", expr):
            assert 'SessionName=~"$SessionName"' in series, expr
            assert 'run=~"$run"' in series or "object_store" in series, expr


def test_panels_have_places_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) == 23


def test_a_folder_gets_dashboard_and_alerts(tmp_path: Path) -> None:
    written = write(tmp_path / "new")
    assert [path.name for path in written] == [FILE, ALERTS]
    assert json.loads(written[0].read_text())["uid"] == "unicornRay"
    assert written[1].read_text() == RULES


def test_among_rays_own_it_takes_the_place_of_what_a_run_does_not_use(tmp_path: Path) -> None:
    from ray.dashboard.modules.metrics.grafana_dashboard_factory import (
        generate_data_grafana_dashboard,
    )

    text, uid = generate_data_grafana_dashboard()
    (tmp_path / RAY_DATA).write_text(text)
    variables = {each["name"] for each in json.loads(text)["templating"]["list"]}
    place, _ = write(tmp_path)
    ours = json.loads(place.read_text())
    assert (place.name, ours["uid"], ours["title"]) == (RAY_DATA, uid, "unicorn-ray")
    own = {each["name"] for each in ours["templating"]["list"]}
    assert own & variables == {"datasource", "SessionName"}


def test_what_takes_no_dashboard_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DashboardError, match=f"cannot be put into {tmp_path}/file"):
        write(tmp_path / "file")
    (tmp_path / RAY_DATA).write_text("{")
    with pytest.raises(DashboardError, match=f"cannot be put into {tmp_path}"):
        write(tmp_path)


def test_prometheus_takes_the_alerts() -> None:
    promtool("check", "rules", "alerts.yml", cwd=GRAFANA)


def test_alerts_go_off_when_they_must_and_not_before() -> None:
    promtool("test", "rules", "alerts_test.yml", cwd=Path(__file__).parent)
