"""Builds what the gallery shows of a run, as plain values for JSON.

Invariant: everything is read from the run folder, by the same functions that the report uses, so
the two agree. Every answer has a bounded size, however long the run is.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, replace
from operator import itemgetter
from statistics import fmean
from typing import Any

from actors.hygiene.looks import Repeats, winning_looks
from actors.replay.records import JudgedGroup
from actors.replay.segments import SegmentError
from actors.roles.templates import load_templates
from actors.storage import storage
from actors.storage.paths import StoragePath
from cluster.gallery.index import Catalogue, Entry, Index
from cluster.gallery.slices import Pictures
from cluster.recipes import recipe
from cluster.report import charts, task_section
from cluster.report import view as report_view
from cluster.report.groups import card, ends
from cluster.report.lessons import Taught, lessons, times_taught
from cluster.report.view import Plot
from evaluation import metrics
from evaluation.suites import load_suite
from policies.config import ConfigError
from policies.interface import Example, Pattern

PAGE = 24
LONGEST_TEXT = 1000
PROBLEMS_SHOWN = 5
ROUNDS_REMEMBERED = 8


class Gallery:
    """One run folder. Raises ConfigError if it holds no run."""

    def __init__(self, folder: StoragePath) -> None:
        self.folder = folder
        self.config = recipe.load_folder(folder)
        self.index = Index(folder.absolute() / "replay")
        self.pictures = Pictures()
        self._templates = load_templates(self.config.actors.templates)
        self._suite = load_suite(self.config.evaluation.suite)
        self._taught: OrderedDict[tuple[int, int], Taught] = OrderedDict()

    def run(self) -> dict[str, Any]:
        """Returns an overview of the run, which the page requests every few seconds."""
        now = self.index.catalogue()
        newest = max((entry.slice.arrived for entry in now.groups), default=None)
        return {
            "name": self.config.name,
            "revision": now.revision,
            "curves": f"{now.revision}-{storage.changed(self.folder / metrics.FILE)}",
            "planned": self.config.rounds,
            "rollouts": self.config.solver.rollouts,
            "accept_at": self.config.judge.accept_at,
            "groups": len(now.groups),
            "accepted": sum(entry.accepted for entry in now.groups),
            "age": None if newest is None else max(0.0, time.time() - newest / 1e9),
            "rounds": [self._round(number, of) for number, of in now.by_round().items()],
            "categories": now.categories(),
            "problems": now.problems[:PROBLEMS_SHOWN],
        }

    def groups(
        self, round_: int | None, category: str | None, accepted: bool | None, page: int
    ) -> dict[str, Any]:
        """Returns one page of the groups, newest first; `page` counts from 1."""
        now = self.index.catalogue()
        found = now.chosen(round_, category, accepted)
        listed = found[(page - 1) * PAGE : page * PAGE]
        return {
            "revision": now.revision,
            "total": len(found),
            "size": PAGE,
            "pages": max(1, -(-len(found) // PAGE)),
            "groups": [self._summary(entry) for entry in listed],
        }

    def lineage(self, round_: int, index: int) -> dict[str, Any] | None:
        """Returns all about one group; None if there is none. Raises SegmentError if damaged."""
        now = self.index.catalogue()
        entry = now.places.get((round_, index))
        if entry is None:
            return None
        group = self._read(entry)
        examples = self._lessons(group)
        taught = self._times_taught(now, round_)
        made = card(group, examples, taught, self._suite)
        drawings = [
            asdict(replace(d, picture=_address(entry, d.number - 1))) for d in made.drawings
        ]
        return {
            **asdict(replace(made, drawings=(), told=())),
            "drawings": drawings,
            "lessons": [{**asdict(lesson), "used": lesson.used} for lesson in made.lessons],
            "round": round_,
            "index": index,
            "prompt_seed": str(group.prompt_seed),  # JavaScript's numbers cannot hold 64 bits
            "weight_version": group.weight_version,
            "judge_version": group.judge_version,
            "accept_at": self.config.judge.accept_at,
            "complete": taught is not None,
        }

    def curves(self) -> list[dict[str, Any]]:
        """Returns the report's curves, and the mean scores of each round from the log itself."""
        rows = metrics.read_metrics(self.folder)
        measured = [(row["version"], row) for row in rows if row.get("kind") == "evaluation"]
        curves = report_view.plots(sorted(measured, key=itemgetter(0)), metrics.of_rounds(rows))
        tasks = task_section.plots(task_section.by_task(rows))
        plots = [_scores(self.index.catalogue()), *curves, *tasks]
        return [{**vars(plot), "chart": str(plot.chart)} for plot in plots]

    def picture(self, checksum: str, row: int, number: int, whole: bool) -> bytes | None:
        """Returns a drawing as PNG, `whole` or as a thumbnail; None if it does not exist. Raises
        SegmentError."""
        slice_ = self.index.catalogue().slices.get(checksum)
        if slice_ is None:
            return None
        look = self.pictures.png if whole else self.pictures.thumbnail
        try:
            return look(slice_, row, number)
        except SegmentError as error:
            self.index.damaged(slice_, str(error))
            raise

    def _read(self, entry: Entry) -> JudgedGroup:
        try:
            return self.pictures.group(entry.slice, entry.row)
        except SegmentError as error:
            self.index.damaged(entry.slice, str(error))
            raise

    def _round(self, number: int, groups: Sequence[Entry]) -> dict[str, Any]:
        return {
            "round": number,
            "groups": len(groups),
            "accepted": sum(entry.accepted for entry in groups),
            "closed": self.index.closed(number),
        }

    def _summary(self, entry: Entry) -> dict[str, Any]:
        group = entry.slice.outline(entry.row)
        winner, loser = ends(group, self._lessons(group))
        marks = {winner: "winner", loser: "loser"}
        return {
            "round": group.round,
            "index": group.index,
            "category": group.category,
            "subcategory": group.subcategory,
            "prompt": _short(group.prompt),
            "reason": _short(group.reason),
            "drawings": [
                {
                    "picture": _address(entry, number),
                    "score": rollout.judgement.score,
                    "analysis": _short(rollout.remark),
                    "mark": marks.get(number, ""),
                }
                for number, rollout in enumerate(group.rollouts)
            ],
        }

    def _lessons(self, group: JudgedGroup) -> dict[Pattern, Example]:
        try:
            return dict(lessons(group, self.config, self._templates))
        except ConfigError:  # the run's templates lack the group's category
            return {}

    def _times_taught(self, now: Catalogue, round_: int) -> Taught | None:
        """Returns how often the trainer uses each group of a round; None until it is complete."""
        if not self.index.closed(round_):
            return None
        key = round_, now.revision
        if key not in self._taught:
            # Of rejected groups nothing can be learned, or judgements.
            only = None if self.config.reconstruction.judged == "all" else True
            groups = sorted(
                now.chosen(round_, accepted=only), key=lambda e: (e.slice.name.index, e.row)
            )
            outlines = [entry.slice.outline(entry.row) for entry in groups]
            judge, seed = self.config.judge, self.config.seed
            seen = Repeats(judge.hygiene.duplicate_bits)
            able = [
                (g.index, list(of))
                for g in outlines
                if not seen.repeats(winning_looks(g, seed, judge.ties)) and (of := self._lessons(g))
            ]
            self._taught[key] = times_taught(self.config, round_, able)
            while len(self._taught) > ROUNDS_REMEMBERED:
                self._taught.popitem(last=False)
        return self._taught[key]


def _scores(now: Catalogue) -> Plot:
    rounds = now.by_round().items()
    series = {
        "best of a prompt's drawings": [
            (r, fmean(of)) for r, g in rounds if (of := _known(g, "best"))
        ],
        "all drawings": [(r, fmean(of)) for r, g in rounds if (of := _known(g, "mean"))],
    }
    how = "What the Judge gives, from 0 to 10; the newest round may still be growing."
    return Plot("Scores", how, tuple(series), charts.lines(series, "round", "score", 10.0))


def _known(groups: Sequence[Entry], what: str) -> list[float]:
    return [value for entry in groups if (value := getattr(entry, what)) is not None]


def _address(entry: Entry, number: int) -> str:
    """Returns a drawing's path. It contains the file's checksum, so its content never changes."""
    return f"{entry.slice.name.checksum}/{entry.row}/{number}.png"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
