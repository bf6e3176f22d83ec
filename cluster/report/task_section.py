"""What the report says of the tasks that a recipe names: a curve, a table and kinds for each.

Invariant: everything here follows from what was kept of the versions; a task that has not measured any
yet is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from actors.storage import storage
from cluster.report import charts, gains, task_page
from cluster.report.data import Run
from cluster.report.view import Plot
from evaluation.kept import FOLDER, Found
from evaluation.metrics import Row
from evaluation.tasks.folder import SUMMARY
from evaluation.tasks.measure import KIND, SCORES

HOW = "Draw at the fixed setting, then answer questions about the drawing. Bars are 95 % intervals."


@dataclass(frozen=True)
class VersionRow:
    """One version. `page` is the address of its own page, empty where there is none."""

    version: int
    soft: str
    hard: str
    change: str
    counted: str
    page: str


@dataclass(frozen=True)
class TaskView:
    """`kinds` is there once two versions were measured."""

    name: str
    note: str
    plot: Plot
    rows: tuple[VersionRow, ...]
    kinds: Markup | None


def sections(run: Run) -> list[TaskView]:
    return [_section(run, name, found) for name, found in run.tasks.items() if found]


def plots(measured: Mapping[str, Sequence[tuple[int, Row]]]) -> list[Plot]:
    """The curves of each task over versions, from rows as metrics.jsonl has them."""
    return [_plot(name, rows) for name, rows in measured.items()]


def by_task(rows: Iterable[Row]) -> dict[str, list[tuple[int, Row]]]:
    """The rows of each task by version, of all rows of metrics.jsonl."""
    found: dict[str, list[tuple[int, Row]]] = defaultdict(list)
    for row in rows:
        if row.get("kind") == KIND:
            found[row["task"]].append((row["version"], row))
    return {name: sorted(own, key=lambda pair: pair[0]) for name, own in found.items()}


def write_pages(run: Run) -> None:
    """Makes the page of every version's evaluation that is still there."""
    for found in run.tasks.values():
        for each in found.values():
            if _page(run, each):
                task_page.write(run.folder / FOLDER / each["folder"])


def _section(run: Run, name: str, found: Mapping[int, Found]) -> TaskView:
    versions = list(found.values())
    first, last = versions[0]["summary"], versions[-1]["summary"]
    rows = tuple(_row(run, f"{KIND}.{name}/", versions[0], each) for each in versions)
    kinds = [(kind, first["kinds"][kind]["hard"], of["hard"]) for kind, of in last["kinds"].items()]
    return TaskView(
        name=name,
        note=f"{last['instances']} prompts with {last['questions']} questions, judged by "
        f"{last['judge']['name']} ({last['judge']['version']}).",
        plot=_plot(name, [(each["version"], each["values"]) for each in versions]),
        rows=rows,
        kinds=charts.slopes(kinds) if len(versions) > 1 else None,
    )


def _row(run: Run, prefix: str, base: Found, own: Found) -> VersionRow:
    summary, change = own["summary"], ""
    if own is not base:
        change = "{:+.1f} ± {:.1f}".format(*gains.change(base, own, f"{prefix}hard"))
    counted = [f"{name.replace('_', ' ')} {n}" for name, n in summary["counted"].items() if n]
    return VersionRow(
        version=own["version"],
        soft=_score(summary["soft"]),
        hard=_score(summary["hard"]),
        change=change,
        counted=", ".join(counted),
        page=_page(run, own),
    )


def _score(of: Mapping[str, float]) -> str:
    told = f"{of['score']:.1f} ({of['low']:.1f} to {of['high']:.1f})"
    return told + (f", at most {of['at_most']:.1f}" if of["at_most"] > of["score"] else "")


def _page(run: Run, found: Found) -> str:
    there = storage.exists(run.folder / FOLDER / found["folder"] / SUMMARY)
    return f"{FOLDER}/{found['folder']}/{task_page.FILE}" if there else ""


def _plot(name: str, rows: Sequence[tuple[int, Row]]) -> Plot:
    prefix = f"{KIND}.{name}/"
    points = {key: [(at, float(row[prefix + key])) for at, row in rows] for key in SCORES}
    within = {
        key: [(at, row[f"{prefix}{key}_low"], row[f"{prefix}{key}_high"]) for at, row in rows]
        for key in SCORES
    }
    chart = charts.lines(points, "weight version", "of 100", 100.0, within)
    return Plot(f"Task {name}", HOW, SCORES, chart)
