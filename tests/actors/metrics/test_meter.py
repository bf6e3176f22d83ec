"""What was told once can be read for as long as its process lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.metrics.catalog import ALL, BUSY, TASKS
from actors.metrics.meter import Meter

ROOT = Path(__file__).resolve().parents[3]

STORY = """
import time, urllib.request, ray
from actors.metrics import catalog
from actors.metrics.meter import Meter
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
port = ray.nodes()[0]["MetricsExportPort"]
meter = Meter("told", role="solver")
meter.set(catalog.VERSION, 7)
meter.add(catalog.TASKS, 3, stage="draw")
meter.add(catalog.TASKS, 0, stage="judge")
meter.observe(catalog.JUDGE_SCORE, 9.5, category="counting")
time.sleep(8)  # Ray forgets a gauge after 2 s here
with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
    told = [line for line in page.read().decode().splitlines() if line.startswith("ray_unicorn_")]
for line in told:
    name, _, rest = line.partition("{")
    tags = dict(tag.split("=", 1) for tag in rest.rpartition("}")[0].replace('"', "").split(","))
    kept = [tags[key] for key in ("run", "role", "stage", "category", "le") if key in tags]
    print(name, *kept, line.split()[-1])
ray.shutdown()
meter.set(catalog.VERSION, 8)  # nobody hears it, and nothing happens
"""


@pytest.mark.slow
def test_a_gauge_that_was_set_once_is_told_again() -> None:
    settings = {
        "RAY_metrics_report_interval_ms": "1000", "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", STORY],
        env={**os.environ, "RAY_ADDRESS": "", **settings},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert "ray_unicorn_weight_version told 7.0" in told
    assert "ray_unicorn_tasks_total told solver draw 3.0" in told
    assert "ray_unicorn_judge_score_bucket told counting 9.0 0.0" in told
    assert "ray_unicorn_judge_score_bucket told counting 10.0 1.0" in told
    assert not any("judge 0" in line for line in told)


def test_a_metric_needs_all_of_its_tags() -> None:
    with pytest.raises(KeyError, match="stage"):
        Meter("run", role="solver").add(TASKS)


def test_names_are_told_apart() -> None:
    assert len({metric.exported for metric in ALL}) == len(ALL)
    assert BUSY.exported == "ray_unicorn_busy_seconds_total"
