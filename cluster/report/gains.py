"""What was gained, said so that nobody can take sharpening for learning.

Invariant: a gain at a fixed temperature is named as such, and once both ends of a run were
measured at their best settings, the gain between those comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.report.data import Run
from evaluation.kept import Found
from evaluation.paired import gain, interval

RIGHT = "drawing/all_right"
MOST = 0.5
"""Where less than this share of a gain is left at the best settings, most of it is sharpening."""


@dataclass(frozen=True)
class Tried:
    """One inference setting on the selection prompts; the base's share first, then the last
    version's. `chosen` says for which of them it was the best."""

    setting: str
    shares: tuple[str, ...]
    chosen: tuple[bool, ...]


def fixed_setting(run: Run) -> str:
    return f"temperature {run.config.evaluation.temperature:g}"


def best_ends(run: Run) -> tuple[Found, Found] | None:
    """The base and the newest version that was measured, each at its best setting; None unless
    both were."""
    newest = max(run.evaluations, default=0)
    return (run.best[0], run.best[newest]) if newest and {0, newest} <= set(run.best) else None


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
    ends = best_ends(run)
    was, now = ends or (first, last)
    told = f"{_drew(was)}. {after}, it is {_percent(now)}"
    fixed = change(first, last, RIGHT)
    if ends is None:
        return f"{told}: {_signed(*fixed)}, all at {fixed_setting(run)}."
    best = change(*ends, RIGHT)
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
    """Every setting on the selection prompts, for each end that was measured at its best."""
    ends = list(run.best.values())
    rows = zip(*(each["tried"] for each in ends), strict=True)
    return [
        Tried(
            setting=_setting(row[0]),
            shares=tuple(_share(each["right"], end["prompts"])
                         for each, end in zip(row, ends, strict=True)),
            chosen=tuple(each == end["best"] for each, end in zip(row, ends, strict=True)),
        )
        for row in rows
    ]  # fmt: skip


def _setting(how: Found) -> str:
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
