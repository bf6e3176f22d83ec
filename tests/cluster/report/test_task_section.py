"""What a run's report and its gallery say of the recipe's tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.gallery.views import Gallery
from cluster.report import page as report
from cluster.report import task_section
from cluster.report.data import read_run
from evaluation.config import EvaluationConfig
from evaluation.kept import version_file
from evaluation.metrics import append_metrics
from evaluation.tasks.measure import KIND, kind, values
from evaluation.unicycle.judging import UNPARSABLE, Verdict
from evaluation.unicycle.scoring import hard, soft
from policies.config import changed
from tests.cluster.report import synthetic_run as synthetic
from tests.cluster.report.test_page import Page
from tests.cluster.report.test_task_page import RIGHT, evaluation, scored
from trainer.config import RunConfig

NAME = "mine"
WRONG = Verdict(0.0, "judged")


def add_task(folder: Path, version: int, right: int) -> None:
    """Twenty prompts of two kinds, of which so many are right and one could not be read."""
    found = [
        scored(f"kind {i % 2}", f"thing {i}", RIGHT if i < right else WRONG) for i in range(19)
    ]
    found.append(scored("kind 1", "unread", UNPARSABLE))
    own = f"{NAME}-{version:05d}"
    result = evaluation(folder / "evaluation" / own, found)
    told = json.loads((result / "summary.json").read_text())
    prefix = f"{KIND}.{NAME}/"
    row = {prefix + name: value for name, value in values(told).items()}
    outcomes = {
        prefix + name: [formula(each.marks()) for each in found]
        for name, formula in (("soft", soft), ("hard", hard))
    }
    kept = {"version": version, "settings": {}, "values": row, "outcomes": outcomes, "samples": [],
            "summary": told, "folder": f"{own}/{result.name}"}  # fmt: skip
    version_file(folder, version, kind(NAME)).write_text(json.dumps(kept))
    append_metrics(folder, {"kind": KIND, "task": NAME, "version": version, **row}, 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = synthetic.small_config(tmp_path_factory.mktemp("runs"), rounds=2)
    asked = EvaluationConfig(prompts=10, scenes=5, tasks=(f"configs/{NAME}.yaml", "unicycle"))
    folder = synthetic.build(changed(base, evaluation=asked), measured=2, closed=0)
    for version, right in enumerate((4, 6, 15)):
        add_task(folder, version, right)
    return folder


def test_each_version_has_a_row_and_a_page(folder: Path) -> None:
    text = Page(report.write(folder).read_text()).text
    (task,) = task_section.sections(read_run(folder))
    assert [row.version for row in task.rows] == [0, 1, 2]
    assert [row.hard.split()[0] for row in task.rows] == ["20.0", "30.0", "75.0"]
    first, *_, last = task.rows
    assert first.change == "" and last.change.startswith("+55.0 ± ")
    assert "at most 80.0" in last.hard and last.counted == "unparsable 1"
    for row in task.rows:
        assert row.page == f"evaluation/mine-{row.version:05d}/by-large/report.html"
        assert "thing 3" in (folder / row.page).read_text() and row.hard in text
    assert "Task mine 20 prompts with 40 questions, judged by large (server 1)." in text
    assert "kind 0" in str(task.kinds) and "Task unicycle" not in text


def test_the_report_outlives_the_samples(folder: Path) -> None:
    (folder / "evaluation/mine-00001").rename(folder / "aside")
    try:
        (task,) = task_section.sections(read_run(folder))
        assert [bool(row.page) for row in task.rows] == [True, False, True]
        assert "mine-00001" not in report.write(folder).read_text()
    finally:
        (folder / "aside").rename(folder / "evaluation/mine-00001")


def test_the_gallery_has_the_curve(folder: Path) -> None:
    (curve,) = [each for each in Gallery(folder).curves() if each["title"] == "Task mine"]
    assert curve["names"] == ("soft", "hard") and "75" in curve["chart"]
    assert curve["chart"].count("whiskers") == 2


def test_a_run_that_is_measured_by_tasks_alone_says_so(tmp_path: Path) -> None:
    config = RunConfig(
        folder=str(tmp_path), evaluation=EvaluationConfig(suite="none", tasks=("unicycle",))
    )
    text = Page(report.write(synthetic.build(config, -1, 0)).read_text()).text
    assert (
        "No evaluation suite was set for this run: what it draws is measured by unicycle." in text
    )
