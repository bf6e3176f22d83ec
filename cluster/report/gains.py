"""What was gained, said so that nobody can take sharpening for learning.

Invariant: a gain at a fixed temperature is named as such, and once both ends of a run were
measured at their best settings, the gain between those comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.report.data import Run, spread
from evaluation.kept import Found
from evaluation.paired import gain, interval
from evaluation.passes import AT_K

RIGHT = "drawing/all_right"
SHOWN = 6
MOST = 0.5
"""Where less than this share of a gain is left at the best settings, most of it is sharpening."""


@dataclass(frozen=True)
class Tried:
    """One inference setting on the selection prompts, with the shares of the versions in their order.
    `chosen` says for which of them it was the best."""

    setting: str
    shares: tuple[str, ...]
    chosen: tuple[bool, ...]


def fixed_setting(run: Run) -> str:
    return f"temperature {run.config.evaluation.temperature:g}"


def best_versions(run: Run) -> list[Found]:
    """From the base to the newest version that was measured, those that were at their best setting;
    empty unless both ends were."""
    return _between_ends(run, run.best)


def tries(run: Run) -> list[Found]:
    """Likewise what was drawn in several tries."""
    return _between_ends(run, run.passes)


def _between_ends(run: Run, found: Mapping[int, Found]) -> list[Found]:
    newest = max(run.evaluations, default=0)
    there = newest and {0, newest} <= set(found)
    return [each for version, each in found.items() if version <= newest] if there else []


def at_best(run: Run) -> list[Found]:
    """Versions that were measured at their best setting, so many as a table has room for."""
    found = list(run.best.values())
    return [found[i] for i in spread(len(found), SHOWN)]


def change(before: Found, after: Found, key: str) -> tuple[float, float]:
    """The gain in percent, and the half-width of its interval."""
    mean, half = gain(before["outcomes"][key], after["outcomes"][key])
    return 100 * mean, 100 * half


def only(run: Run) -> str:
    """The share of a run with one measured version."""
    version, found = next(iter(run.evaluations.items()))
    best = run.best.get(version)
    told = _drew(best or found)
    if best:
        told += f" at its best setting, and {_percent(found)} at {fixed_setting(run)}"
    return f"{told}. No later version has been measured yet."


def sentences(run: Run, after: str) -> str:
    """The gain in all-right drawings of a run with several measured versions; `after` says from
    what the last one learned."""
    first, last = run.evaluations[min(run.evaluations)], run.evaluations[max(run.evaluations)]
    best_of = best_versions(run)
    was, now = (best_of[0], best_of[-1]) if best_of else (first, last)
    told = f"{_drew(was)}. {after}, it is {_percent(now)}"
    fixed = change(first, last, RIGHT)
    if not best_of:
        return f"{told}: {_signed(*fixed)}, all at {fixed_setting(run)}."
    best = change(was, now, RIGHT)
    return (
        f"{told}: {_signed(*best)}, each at the setting that suited it best on other prompts. "
        f"At the fixed {fixed_setting(run)} it goes from {_percent(first)} to {_percent(last)}, "
        f"{_signed(*fixed)}{_sharpening(best[0], fixed[0])}."
    )


def _drew(found: Found) -> str:
    who = f"Weights v{found['version']}" if found["version"] else "The base model"
    return f"{who} drew {_percent(found)} of the held-out prompts all right"


def _sharpening(best: float, fixed: float) -> str:
    """What part of the gain at the fixed setting a better setting gives without learning."""
    if best >= fixed:
        return ""
    part = "most" if best < MOST * fixed else "part"
    return f"; {part} of that gain is sharpening, which a better setting gives without learning"


def tried(run: Run) -> list[Tried]:
    """Every setting on the selection prompts, for versions that were measured at their best."""
    ends = at_best(run)
    rows = zip(*(each["tried"] for each in ends), strict=True)
    return [
        Tried(
            setting=setting(row[0]),
            shares=tuple(_share(each["right"], end["prompts"])
                         for each, end in zip(row, ends, strict=True)),
            chosen=tuple(each == end["best"] for each, end in zip(row, ends, strict=True)),
        )
        for row in rows
    ]  # fmt: skip


def new_prompts(run: Run) -> str:
    """What became possible: prompts that one end drew right in no try, and the other one in some."""
    if not (drawn := tries(run)):
        return ""
    first, last = drawn[0], drawn[-1]
    pairs = list(zip(*(each["outcomes"][AT_K] for each in (first, last)), strict=True))
    won, lost = (sum(pair == these for pair in pairs) for these in ((0.0, 1.0), (1.0, 0.0)))
    return (
        f"Of {len(pairs)} held-out prompts v{last['version']} draws {won} right in some of {last['k']} "
        f"tries that the base drew right in none, and {lost} in none that the base drew right in some. "
        f"Tries are at temperature {setting(first['setting'])} for the base and "
        f"{setting(last['setting'])} for v{last['version']}: of those above 0 the best on other prompts."
    )


def setting(how: Found) -> str:
    guided = "" if how["guidance"] == 1 else f", guidance {how['guidance']:g}"
    solved = f", {how['steps']} steps" if "steps" in how else ""
    return f"{how['temperature']:g}{guided}{solved}"


def _share(right: int, count: int) -> str:
    low, high = interval(right, count)
    return f"{100 * right / count:.1f}\u00a0% ({100 * low:.0f} to {100 * high:.0f})"


def _percent(found: Found) -> str:
    return f"{found['values'][RIGHT]:.1f}\u00a0%"


def _signed(mean: float, half: float) -> str:
    return f"{mean:+.1f} ± {half:.1f} points"
