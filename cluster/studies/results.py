"""What a study found: of every arm and measure the base, the last version and the change, over its seeds.

Invariant: everything follows from the measurements in the folders of its runs, so that it can be written
again at any time. Only seeds that are done count, and a comparison takes those that both sides have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from actors.storage.paths import run_folder
from cluster.report.gains import setting
from cluster.studies.measured import Ends, done, ends
from cluster.studies.study import Arm, Study
from evaluation.cost import of_run
from evaluation.kept import read_all
from evaluation.metrics import of_rounds, read_metrics
from evaluation.paired import gain, over_seeds

Outcomes = dict[int, list[float]]
"""By seed, of every prompt or scene what its score is the mean of."""


@dataclass(frozen=True)
class Measure:
    """One column: `outcome` of the measurements of that kind."""

    key: str
    label: str
    kind: str
    outcome: str


FIXED, BEST = "at the fixed setting", "at its best setting"
MEASURES = (
    Measure("right", f"drawing all right {FIXED}", "version", "drawing/all_right"),
    Measure("right_best", f"drawing all right {BEST}", "best", "drawing/all_right"),
    Measure("hard", f"UniCycle Hard {FIXED}", "version", "unicycle/hard"),
    Measure("hard_best", f"UniCycle Hard {BEST}", "best", "unicycle/hard"),
    Measure("soft", f"UniCycle Soft {FIXED}", "version", "unicycle/soft"),
    Measure("soft_best", f"UniCycle Soft {BEST}", "best", "unicycle/soft"),
    Measure("captions", "captions right", "version", "understanding/captions"),
    Measure("questions", "questions right", "version", "understanding/questions"),
    Measure("blind", "questions without the picture", "version", "understanding/blind"),
    Measure("twins", "questions on a scene and its twin", "twins", "understanding/twins"),
)


def results(study: Study) -> dict[str, Any]:
    """All that table and plot show, in percent, as it stands in results.json."""
    fields, first = study.fields, study.arms[0]
    own = study.run(first, fields.seeds[0]) if not first.fields.graft else None
    arms = [_Arm(study, arm) for arm in study.arms]
    found: dict[str, Any] = {
        "study": study.name,
        "title": fields.title,
        "recipe": fields.recipe,
        "seeds": list(fields.seeds),
        "overrides": {k: each.value for k, each in study.overrides.items() if k != "folder"},
        "axis": fields.axis,
        "x_label": fields.x_label,
        "reference": first.name,
        "arms": {},
    }
    if own:
        found["temperature"] = own.evaluation.temperature
        found["prompts"] = own.evaluation.prompts
    for arm in arms:
        found["arms"][arm.arm.name] = arm.found(arms[0])
    return found


class _Arm:
    """The measurements of one arm, by measure and side."""

    def __init__(self, study: Study, arm: Arm) -> None:
        self.study, self.arm = study, arm
        self.ends: dict[int, Ends] = {
            seed: ends(study, arm, seed) for seed in study.fields.seeds if done(study, arm, seed)
        }
        self.sides = {measure.key: self._sides(measure) for measure in MEASURES}

    def found(self, reference: _Arm) -> dict[str, Any]:
        fields = self.arm.fields
        return {
            "label": self.arm.label,
            "x": fields.x,
            "graft": fields.graft,
            "external": list(fields.external),
            "recipe": fields.recipe,
            "changes": {key: each.value for key, each in self.arm.changes.items()},
            "seeds": list(self.ends),
            "measures": dict(self._measures(reference)),
            "cost": self._cost(),
            "best_settings": dict(self._best_settings()),
            "versions": {} if self.arm.measured_apart else dict(self._versions()),
        }

    def _sides(self, measure: Measure) -> tuple[Outcomes, Outcomes]:
        base: Outcomes = {}
        last: Outcomes = {}
        for seed, own in self.ends.items():
            was, now = (end.found(measure.kind) for end in own)
            if was and now and (outcomes := was["outcomes"].get(measure.outcome)):
                base[seed] = outcomes
                last[seed] = now["outcomes"][measure.outcome]
        return base, last

    def _measures(self, reference: _Arm) -> Iterator[tuple[str, Any]]:
        for key, (base, last) in self.sides.items():
            if not last:
                continue
            found = {"base": _spread(base), "last": _spread(last), "change": _change(base, last)}
            _, theirs = reference.sides[key]
            if reference is not self and (both := [seed for seed in last if seed in theirs]):
                pairs = [{seed: each[seed] for seed in both} for each in (theirs, last)]
                found["against"] = _change(*pairs)
            yield key, found

    def _cost(self) -> dict[str, float]:
        """What its runs took: means over the seeds of which it is known."""
        if self.arm.fields.graft:
            return {}
        runs = [run_folder(self.study.run(self.arm, seed)) for seed in self.ends]
        known = [
            each for run in runs if (each := of_run(row for _, row in of_rounds(read_metrics(run))))
        ]
        return {who: round(sum(each[who] for each in known) / len(known), 3)
                for who in (known[0] if known else ())}  # fmt: skip

    def _best_settings(self) -> Iterator[tuple[int, Any]]:
        for seed, own in self.ends.items():
            was, now = (end.found("best") for end in own)
            if was and now:
                yield seed, {"base": setting(was["best"]), "last": setting(now["best"])}

    def _versions(self) -> Iterator[tuple[str, Any]]:
        """Of every version what all its seeds have measured."""
        seen = {kind: [read_all(run_folder(self.study.run(self.arm, seed)), kind) for seed in self.ends]
                for kind in ("version", "best", "twins")}  # fmt: skip
        for measure in MEASURES:
            by_seed = seen[measure.kind]
            common = set.intersection(*map(set, by_seed)) if by_seed else set()
            points = {}
            for version in sorted(common):
                each = {seed: own[version]["outcomes"].get(measure.outcome, [])
                        for seed, own in zip(self.ends, by_seed, strict=True)}  # fmt: skip
                if all(each.values()):
                    points[version] = _spread(each)
            if points:
                yield measure.key, points


def _spread(outcomes: Outcomes) -> dict[str, float]:
    return _of([100 * sum(each) / len(each) for each in outcomes.values()])


def _change(before: Outcomes, after: Outcomes) -> dict[str, Any]:
    """The mean gain with the half-width of its 95 % interval, paired by prompt, and how seeds differ."""
    _, half = gain(over_seeds(list(before.values())), over_seeds(list(after.values())))
    each = [100 * gain(before[seed], after[seed])[0] for seed in after]
    return {**_of(each), "half": round(100 * half, 2), "seeds": list(after)}


def _of(values: Sequence[float]) -> dict[str, float]:
    mean = sum(values) / len(values)
    return {"mean": round(mean, 2), "least": round(min(values), 2), "most": round(max(values), 2)}
