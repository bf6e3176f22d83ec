"""Everything the report shows, read from the run folder and from nowhere else.

Invariant: what is read is bounded: segments pass one at a time and only the chosen groups are
kept, so that a long run makes the same small page. What a run in progress has not made yet is
empty here, and never an error.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.hygiene.looks import Repeats, winning_looks
from actors.replay.index import CLOSED
from actors.replay.records import JudgedGroup
from actors.replay.segments import SegmentName, read_segment
from actors.roles.templates import load_templates
from actors.storage import storage
from actors.storage.paths import StoragePath
from cluster.recipes import recipe
from cluster.report.lessons import Taught, lessons, times_taught
from evaluation import best_setting, passes, twins
from evaluation.audit import reason_kind
from evaluation.kept import Found, read_all
from evaluation.metrics import Row, of_rounds, read_metrics, read_rows
from evaluation.tasks.measure import read_task
from evaluation.tasks.ready import task_name
from policies.interface import Example, Pattern
from policies.seeds import derive
from trainer.config import RunConfig
from trainer.journal import JOURNAL

ROUNDS_SHOWN = 6
GROUPS_A_ROUND = 4
REFUSED_SHOWN = 6


@dataclass(frozen=True)
class Shown:
    """A group to be shown, and what it can teach."""

    group: JudgedGroup
    examples: dict[Pattern, Example]


@dataclass
class Round:
    """One round of the replay buffer. `taught` is None until the round is complete; `helpers` are
    the outside models that touched it; `filtered` counts drawings by the filter that left them out,
    and `repeated` accepted groups whose winner looks like an earlier one."""

    number: int
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    shown: list[Shown] = field(default_factory=list)
    refused: dict[str, JudgedGroup] = field(default_factory=dict)
    taught: Taught | None = None
    helpers: set[str] = field(default_factory=set)
    filtered: Counter[str] = field(default_factory=Counter)
    repeated: int = 0

    @property
    def groups(self) -> int:
        return self.accepted + self.rejected.total()


@dataclass
class Run:
    """`evaluations` by version, `best` those at a version's best setting, `passes` those of several
    tries, `twins` those of scenes beside their twins and `tasks` those of each task, `audits` by round,
    `training` by step, each in order. `fates` are what became of a round's proposals, with their
    numbers."""

    folder: StoragePath
    config: RunConfig
    evaluations: dict[int, Found]
    best: dict[int, Found]
    passes: dict[int, Found]
    twins: dict[int, Found]
    tasks: dict[str, dict[int, Found]]
    audits: list[Row]
    fates: dict[int, dict[str, float]]
    training: list[Row]
    rounds: list[Round]


def read_run(folder: StoragePath) -> Run:
    """Raises ConfigError for a folder without a run."""
    config = recipe.load_folder(folder)
    rows = read_metrics(folder)
    return Run(
        folder=folder,
        config=config,
        evaluations=read_all(folder),
        best=read_all(folder, best_setting.KIND),
        passes=read_all(folder, passes.KIND),
        twins=read_all(folder, twins.KIND),
        tasks={name: read_task(folder, name) for name in map(task_name, config.evaluation.tasks)},
        audits=[row for _, row in of_rounds(rows)],
        fates={row["round"]: _fates(row) for row in rows if row["kind"] == "proposals"},
        training=_by_step(read_rows(folder / JOURNAL)),
        rounds=_rounds(folder / "replay", config),
    )


def spread(count: int, most: int) -> list[int]:
    """Up to `most` places of `count`, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _fates(row: Row) -> dict[str, float]:
    return {
        name.removeprefix("proposals/"): count
        for name, count in row.items()
        if name.startswith("proposals/")
    }


def _by_step(rows: list[Row]) -> list[Row]:
    """A step that was done again after a crash counts once, as it was done last."""
    latest = {row["step"]: row for row in rows}
    return [latest[step] for step in sorted(latest)]


def _rounds(replay: StoragePath, config: RunConfig) -> list[Round]:
    folders = [replay / name for name in storage.names(replay) if name.startswith("round-")]
    shown = {folders[i] for i in spread(len(folders), ROUNDS_SHOWN)}
    return [_Reader(folder, config).read(GROUPS_A_ROUND if folder in shown else 0)
            for folder in folders]  # fmt: skip


class _Reader:
    """Reads one round, one segment at a time."""

    def __init__(self, folder: StoragePath, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        self.templates = load_templates(config.actors.templates)
        self.repeats = Repeats(config.judge.hygiene.duplicate_bits)
        self.round = Round(int(folder.name.removeprefix("round-")))
        self.able: list[tuple[int, list[Pattern]]] = []
        self.chosen: dict[str, tuple[int, Shown]] = {}

    def read(self, most: int) -> Round:
        for group in self._groups():
            self.round.helpers |= {group.external} - {""}
            self.round.filtered.update(r.unfit.filter for r in group.rollouts if r.unfit)
            if group.accepted:
                self._accept(group)
            else:
                self._refuse(group)
        first = heapq.nsmallest(most, self.chosen.values(), key=lambda item: item[0])
        self.round.shown = sorted((shown for _, shown in first), key=lambda s: s.group.index)
        if storage.exists(self.folder / CLOSED):
            self.round.taught = times_taught(self.config, self.round.number, self.able)
        return self.round

    def _groups(self) -> Iterator[JudgedGroup]:
        names = filter(None, map(SegmentName.parse, storage.files(self.folder)))
        for name in sorted(names, key=lambda name: name.index):
            yield from read_segment(name.path)

    def _accept(self, group: JudgedGroup) -> None:
        """Keeps one group a category: the one with most to teach that a keyed draw puts first."""
        self.round.accepted += 1
        look = winning_looks(group, self.config.seed, self.config.judge.ties)
        if self.repeats.repeats(look):
            self.round.repeated += 1
            return
        examples = dict(lessons(group, self.config, self.templates))
        self.able.append((group.index, list(examples)))
        place = derive(self.config.seed, "report", group.round, group.index)
        place += (4 - len(examples)) << 64
        if group.category not in self.chosen or place < self.chosen[group.category][0]:
            self.chosen[group.category] = (place, Shown(group, examples))

    def _refuse(self, group: JudgedGroup) -> None:
        if examples := lessons(group, self.config, self.templates):
            self.able.append((group.index, list(examples)))
        kind = reason_kind(group.reason)
        self.round.rejected[kind] += 1
        self.round.refused.setdefault(kind, group)
