"""What a study says of measurements that are known."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from actors.storage.paths import run_folder
from cluster.recipes import recipe
from cluster.studies import study
from cluster.studies.measured import base_apart, borrow_base, mark
from cluster.studies.plot import plot
from cluster.studies.results import results
from cluster.studies.runner import write
from cluster.studies.study import Study
from cluster.studies.table import table
from evaluation.cost import ROLES, TRAINER
from evaluation.kept import version_file
from evaluation.metrics import append_metrics
from evaluation.paired import gain
from tests.cluster.studies.test_study import SERVER, written

ARMS = "arms:\n  whole: {x: 40}\n  half:\n    x: 20\n    label: w/o <half>\n    proposer: {prompts: 20}\n"
RIGHT = {
    ("whole", 0): ([0, 0, 1, 0], [1, 1, 1, 0]),
    ("whole", 1): ([0, 0, 1, 1], [1, 0, 1, 1]),
    ("half", 0): ([0, 0, 1, 0], [0, 1, 1, 0]),
    ("half", 1): ([0, 0, 1, 1], [1, 0, 1, 0]),
}
"""Of each arm and seed which drawings of the base and of the last version are right."""


@pytest.fixture
def measured(tmp_path: Path) -> Study:
    found = study.load(written(tmp_path, ARMS), [f"folder={tmp_path}", "seeds=2"])
    for (name, seed), sides in RIGHT.items():
        measure(found, name, seed, sides)
    return found


def measure(found: Study, name: str, seed: int, sides: tuple[list[int], list[int]]) -> None:
    run = found.run(found.arm(name), seed)
    recipe.claim_folder(run)
    for version, right in zip((0, run.rounds), sides):
        for kind in ("version", "best"):
            outcomes = {"drawing/all_right": right, "unicycle/hard": right, "unicycle/soft": right}
            if kind == "version":
                outcomes |= {"understanding/captions": [1, 1], "understanding/questions": [1, 0]}
            kept = {"version": version, "settings": {}, "values": {}, "outcomes": outcomes, "samples": [],
                    "best": {"temperature": 0.3, "guidance": 1.5}}  # fmt: skip
            file = Path(str(version_file(run_folder(run), version, kind)))
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(kept))
    costs = {f"cost/{who}_flops": 1e12 * (i + 1) for i, who in enumerate((*ROLES, TRAINER))}
    for round_ in range(1, run.rounds + 1):
        row = {"kind": "round", "round": round_, "audit/right_winners": 50.0 * (seed + 1), **costs}
        append_metrics(run_folder(run), row, 1.0)
    mark(run)


def test_means_spreads_and_paired_intervals_are_those_of_the_outcomes(measured: Study) -> None:
    right = results(measured)["arms"]["whole"]["measures"]["right"]
    assert right["base"] == {"mean": 37.5, "least": 25.0, "most": 50.0}
    assert right["last"] == {"mean": 75.0, "least": 75.0, "most": 75.0}
    # Of each prompt the mean over both seeds, before and after.
    mean, half = gain([0, 0, 1, 0.5], [1, 0.5, 1, 0.5])
    assert right["change"] == {
        "mean": 100 * mean, "least": 25.0, "most": 50.0, "half": round(100 * half, 2), "seeds": [0, 1]
    }  # fmt: skip
    against = results(measured)["arms"]["half"]["measures"]["right_best"]["against"]
    assert (against["mean"], against["least"], against["most"]) == (-25.0, -25.0, -25.0)
    assert "against" not in results(measured)["arms"]["whole"]["measures"]["right"]


def test_the_table_says_what_was_claimed_and_with_what_certainty(measured: Study) -> None:
    page = table(results(measured))
    assert "| whole | 2 | 37.5 → 75.0, +37.5 ± 46.9 (+25.0 to +50.0) |" in page
    assert "| w/o <half> | 2 | -25.0 ± 28.3 (-25.0 to -25.0) |" in page
    assert "seeds 0, 1, 40 prompts, fixed temperature 1" in page
    assert "0.3, guidance 1.5 → 0.3, guidance 1.5" in page
    assert "not done yet" not in page and "twin" not in page


def test_what_runs_took_is_of_all_their_rounds_and_the_mean_of_seeds(measured: Study) -> None:
    rounds = measured.run(measured.arms[0], 0).rounds
    found = results(measured)
    cost = found["arms"]["whole"]["cost"]
    assert cost["solver"] == 2 * rounds and cost["winners"] == 75 * rounds
    assert f"| whole | {rounds}.00 | {2 * rounds}.00 |" in table(found)
    assert "| 133.3 |" in table(found)  # 10 TFLOP for 75 winners a round


def test_what_is_not_done_is_said_and_counts_for_nothing(tmp_path: Path) -> None:
    found = study.load(written(tmp_path, ARMS), [f"folder={tmp_path}", "seeds=2"])
    assert "**whole: not done yet with seed 0, 1.**" in table(results(found))
    measure(found, "whole", 1, RIGHT["whole", 1])
    page = table(results(found))
    assert "**whole: not done yet with seed 0.**" in page
    assert "| whole | 1 | 50.0 → 75.0, +25.0 ±" in page
    assert "| w/o <half> | 0 | not measured |" in page and "Against" not in page


def test_the_base_is_measured_once_for_all_arms_that_measure_it_alike(tmp_path: Path) -> None:
    more = "  warm:\n    judge: {temperature: 0.5}\n  served: {external: [judge]}\n"
    arms = f"evaluation: {{tasks: []}}\n{ARMS}{more}"
    found = study.load(written(tmp_path, arms), [f"folder={tmp_path}", "seeds=2", *SERVER])
    runs = {arm.name: found.run(arm, 0) for arm in found.arms} | {
        "base": base_apart(found, found.arm("served"), 0)
    }
    borrow_base(found, runs["half"])  # nothing is done yet
    assert not version_file(run_folder(runs["half"]), 0).exists()
    measure(found, "whole", 0, RIGHT["whole", 0])
    for kind in ("version", "best"):
        kept = version_file(run_folder(runs["whole"]), 0, kind).read_bytes()
        for name, same in {"half": True, "base": True, "warm": False, "served": False}.items():
            borrow_base(found, runs[name])
            own = version_file(run_folder(runs[name]), 0, kind)
            assert (own.exists() and own.read_bytes() == kept) == same
    borrow_base(found, (other := found.run(found.arm("half"), 1)))
    assert not version_file(run_folder(other), 0).exists()  # another seed


@pytest.mark.parametrize("axis", ["arm", "x", "version"])
def test_the_plot_is_one_picture_with_every_arms_points(measured: Study, axis: str) -> None:
    found = results(measured) | {"axis": axis, "x_label": "prompts"}
    drawn = plot(found)
    ElementTree.fromstring(drawn)
    assert "var(" not in drawn and "<half>" not in drawn
    shown = {"arm": "w/o &lt;half&gt;: 37.5 to 50", "x": "last version: 75 at 40",
             "version": "w/o &lt;half&gt;: 50 at 2"}[axis]  # fmt: skip
    assert shown in drawn and "captions right" in drawn


def test_table_results_and_plot_lie_in_the_studys_folder(measured: Study) -> None:
    file = write(measured)
    assert str(file) == str(measured.folder / "table.md")
    found = json.loads(Path(str(measured.folder / "results.json")).read_text())
    assert found["arms"]["half"]["changes"] == {"proposer.prompts": 20}
    assert Path(str(measured.folder / "plot.svg")).read_text().startswith("<svg")
