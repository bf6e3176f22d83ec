"""What the report says in numbers: headline, curves and film strips, ready for the template.

Invariant: everything here follows from a `Run` alone, and what was not measured is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cluster.report import charts, gains
from cluster.report.data import Run, spread
from evaluation.kept import Found
from evaluation.metrics import Row
from evaluation.paired import interval
from evaluation.passes import AT_K, AT_ONE
from policies.interface import PATTERNS

Measured = Sequence[tuple[int, Row]]
"""What was measured, by version or by round."""
FRAMES = 6
HEADLINE = {
    "drawing/all_right": "drawings all right",
    "drawing/soft": "facts drawn right",
    "unicycle/hard": "UniCycle Hard",
    "unicycle/soft": "UniCycle Soft",
    "understanding/captions": "captions right",
    "understanding/questions": "questions right",
}
AT_BEST = ("drawing/all_right", "unicycle/hard")


@dataclass(frozen=True)
class Number:
    """One headline number. `change` is empty where there is nothing to compare with."""

    name: str
    now: str
    was: str
    change: str
    within: str
    way: str
    spark: Markup
    unit: str = "\u00a0%"


@dataclass(frozen=True)
class Plot:
    title: str
    how: str
    names: tuple[str, ...]
    chart: Markup


@dataclass(frozen=True)
class Frame:
    version: int
    picture: str
    score: float
    right: bool


@dataclass(frozen=True)
class Strip:
    """One held-out prompt, drawn by several versions with one seed."""

    category: str
    prompt: str
    origin: str
    frames: tuple[Frame, ...]


def numbers(run: Run) -> list[Number]:
    """First what each end of the run does at its best setting, then every version at the fixed."""
    if not run.evaluations:
        return []
    best_of, fixed = gains.best_versions(run), f", {gains.fixed_setting(run)}"
    best = [_number(best_of, key, f"{HEADLINE[key]}, best setting")
            for key in AT_BEST if best_of]  # fmt: skip
    if tries := gains.tries(run):
        k = tries[0]["k"]
        best += [_number(tries, AT_ONE, "all right in one try, pass@1"),
                 _number(tries, AT_K, f"all right in one of {k} tries, pass@{k}")]  # fmt: skip
    measured = list(run.evaluations.values())
    return best + [
        _number(measured, key, name + ("" if key.startswith("understanding/") else fixed))
        for key, name in HEADLINE.items()
    ]


def _number(versions: Sequence[Found], key: str, name: str) -> Number:
    first, last = versions[0], versions[-1]
    curve = charts.spark([each["values"][key] for each in versions])
    now = f"{last['values'][key]:.1f}"
    if len(versions) == 1:
        return Number(name, now, f"weights v{last['version']}, nothing to compare yet", "", "", "",
                      curve)  # fmt: skip
    change, half = gains.change(first, last, key)
    return Number(
        name=name,
        now=now,
        was=f"{first['values'][key]:.1f}\u00a0%",
        change=f"{change:+.1f}",
        within=f" ± {half:.1f}",
        way="level" if abs(change) <= half else "up" if change > 0 else "down",
        spark=curve,
    )


def at_best(run: Run) -> list[Plot]:
    """The curves over weight versions where nothing is left to sharpen; none unless two versions were
    measured at their best setting."""
    if len(run.best) < 2:
        return []
    curves = {
        "all right": _curve(run.best, "drawing/all_right"),
        "captions": _curve(run.evaluations, "understanding/captions"),
        "questions": _curve(run.evaluations, "understanding/questions"),
    }
    points = {name: [(at, value) for at, value, *_ in curve] for name, curve in curves.items()}
    within = {
        name: [(at, low, high) for at, _, low, high in curve] for name, curve in curves.items()
    }
    chart = charts.lines(points, "weight version", "%", 100.0, within)
    how = (
        "Drawings at each version's own best setting; captions and answers are the likeliest ones. "
        "Bars are 95 % intervals of one version: of a change on the same prompts they are narrower."
    )
    return [Plot("At the best setting", how, tuple(curves), chart)]


def _curve(found: Mapping[int, Found], key: str) -> list[tuple[int, float, float, float]]:
    """Of each version the mean of an outcome in percent, and its interval."""
    curve = []
    for version, each in found.items():
        if own := each["outcomes"][key]:
            low, high = interval(sum(own), len(own))
            curve.append((version, 100 * sum(own) / len(own), 100 * low, 100 * high))
    return curve


def plots(measured: Measured, audited: Measured) -> list[Plot]:
    """The curves over weight versions and over rounds."""
    return [
        _plot("Drawing", "Held-out prompts at the fixed setting, by the oracle.", measured,
              {"all right": "drawing/all_right", "soft": "drawing/soft"}, "weight version"),
        _plot("UniCycle", "Draw at the fixed setting, then answer questions about it.", measured,
              {"hard": "unicycle/hard", "soft": "unicycle/soft"}, "weight version"),
        _plot("Understanding", "Reading the oracle's own scenes: is the old skill kept?", measured,
              {"captions": "understanding/captions", "questions": "understanding/questions",
               "questions without the picture": "understanding/blind",
               "scene and twin": "understanding/twins"}, "weight version"),
        _plot("Saying yes", "Of the questions for yes or no, how many are answered by yes.", measured,
              {"answered": "understanding/yes_rate", "right": "understanding/yes_true",
               "is it there? (half are right)": "understanding/twins_yes"}, "weight version"),
        _plot("The Judge against the oracle", "Of what the Judge says, how much is true.", audited,
              {"agreement": "audit/agreement", "accepted winners right": "audit/precision",
               "grammatical prompts": "audit/grammatical"}, "round"),
        _plot("The Judge on planted pairs", "Accepted drawings with their own prompt, and with one of "
              "which a word is another: what the Judge accepts of both.", audited,
              {"right ones accepted": "judge/tpr", "wrong ones accepted": "judge/fpr"}, "round"),
        _plot("Yield", "How much of a round is learned from.", audited,
              {"groups accepted": "audit/accepted", "judgements unparsable": "audit/unparsable"},
              "round"),
        _plot("Cost", "TeraFLOPs for each winner that is right, or without an oracle for each winner.",
              audited, {"all": "cost/all_per_winner", "drawing": "cost/solver_per_winner",
                        "judging": "cost/judge_per_winner", "learning": "cost/trainer_per_winner"},
              "round", "teraFLOPs"),
        _plot("Variety of the proposals", "Distinct n-grams, token overlap of pairs, new prompts.",
              audited, {"distinct-2": "diversity/distinct_2", "distinct-3": "diversity/distinct_3",
                        "self-similarity": "diversity/self_similarity",
                        "held-out prompts": "diversity/held_out"}, "round", "share"),
        *_of_settings(audited),
    ]  # fmt: skip


def _of_settings(audited: Measured) -> list[Plot]:
    """The curves of what a recipe has to ask for, where it did."""
    trusted = {key.removeprefix("trust/j/"): key for key in sorted({
        key for _, row in audited for key in row if key.startswith("trust/j/")
    })}  # fmt: skip
    plots = [
        ("Where the Judge is trusted", "J of planted pairs of the three rounds before, by category.",
         trusted, "%"),
        ("Prompts that were kept aside", "Drawn by the newest version and read back by version 0: the "
         "mean score.", {"score": "step_back/score"}, "score"),
    ]  # fmt: skip
    return [
        _plot(title, how, audited, keys, "round", unit)
        for title, how, keys, unit in plots
        if any(key in row for key in keys.values() for _, row in audited)
    ]


def losses(run: Run) -> list[Plot]:
    found = []
    for pattern in PATTERNS:
        points = [(row["step"], row["losses"][pattern]) for row in run.training
                  if pattern in row["losses"]]  # fmt: skip
        if points:
            chart = charts.lines({pattern: charts.thinned(points)}, "step", "nats a token")
            found.append(Plot(pattern, _LEARNS[pattern], (pattern,), chart))
    return found


_LEARNS = {
    "generation": "prompt → the best drawing",
    "caption": "the best drawing → its prompt",
    "judgement": "prompt and drawing → analysis and score",
    "reflection": "a losing drawing and its judgement → the best drawing",
}


def categories(run: Run) -> Markup | None:
    """Per category the share of drawings all right, from the first version to the last."""
    if len(run.evaluations) < 2:
        return None
    was, now = _ends(run)
    prefix = "drawing/all_right/"
    names = [key.removeprefix(prefix) for key in now["values"] if key.startswith(prefix)]
    return charts.slopes([
        (name, was["values"][prefix + name], now["values"][prefix + name])
        for name in names if prefix + name in was["values"]
    ])  # fmt: skip


def span(run: Run) -> str:
    if len(run.evaluations) < 2:
        return ""
    was, now = _ends(run)
    return f"from v{was['version']} (grey) to v{now['version']}"


def strips(run: Run) -> tuple[list[Strip], list[Strip]]:
    """Every sampled prompt through the versions: one of each category, and then the others."""
    versions = list(run.evaluations.values())
    shown = [versions[i] for i in spread(len(versions), FRAMES)]
    if not shown:
        return [], []
    by_version = [(each["version"], {s["index"]: s for s in each["samples"]}) for each in shown]
    first: dict[str, Strip] = {}
    others = []
    for sample in shown[-1]["samples"]:
        strip = _strip(sample, by_version)
        if first.setdefault(strip.category, strip) is not strip:
            others.append(strip)
    return list(first.values()), others


def _strip(sample: Mapping[str, Any], by_version: Iterable[tuple[int, dict[int, Any]]]) -> Strip:
    frames = tuple(
        Frame(version, same["picture"], same["score"], same["right"])
        for version, samples in by_version
        if (same := samples.get(sample["index"])) is not None
    )
    origin = f"held-out prompt {sample['index']} · seed {sample['seed']}"
    return Strip(sample["category"], sample["prompt"], origin, frames)


def _ends(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    versions = list(run.evaluations.values())
    return versions[0], versions[-1]


def _plot(
    title: str, how: str, rows: Measured, keys: Mapping[str, str], x_label: str,
    y_label: str = "%",
) -> Plot:  # fmt: skip
    series = {
        name: [(at, float(row[key])) for at, row in rows if row.get(key) is not None]
        for name, key in keys.items()
    }
    most = {"%": 100.0, "share": 1.0}.get(y_label, math.inf)
    return Plot(title, how, tuple(keys), charts.lines(series, x_label, y_label, most))
