"""How far the judges of one evaluation agree, question by question.

    python -m evaluation.judges.agreement FOLDER        # the folder that `evaluate --output` names

Invariant: what is compared is verdicts on the same answers. A verdict that could not be read stays out of
the percentage and of kappa, and is counted; so does a question that nobody was asked, for all judges give
it 0.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.tasks.folder import SAMPLES, EvaluationError, read_samples
from policies.errors import UserError

REFUSED = 2
JUDGED, UNREAD = "judged", "unparsable"

Key = tuple[str, int]
"""An instance's id, and which of its questions."""


class Agreement(NamedTuple):
    """`questions` with a verdict of both, of which `same` have the same mark, and the `first` and the
    `second` judge gave more to so many; `unread` are left out. `kappa` is None where one mark is all
    that both ever gave."""

    questions: int
    same: int
    first: int
    second: int
    unread: int
    kappa: float | None


def agreement(first: Mapping[Key, Any], second: Mapping[Key, Any]) -> Agreement:
    """Compares the verdicts of two judges by question. Raises EvaluationError where an answer is not the
    same."""
    both = sorted(first.keys() & second.keys())
    for key in both:
        if first[key]["answer"] != second[key]["answer"]:
            raise EvaluationError(
                f"question {key[1]} of {key[0]} was answered anew between two judges: let both judge again"
            )
    read = [key for key in both if first[key]["status"] == second[key]["status"] == JUDGED]
    pairs = [(float(first[key]["mark"]), float(second[key]["mark"])) for key in read]
    unread = sum(UNREAD in (first[key]["status"], second[key]["status"]) for key in both)
    return Agreement(
        len(pairs), sum(a == b for a, b in pairs), sum(a > b for a, b in pairs),
        sum(a < b for a, b in pairs), unread, kappa(pairs),
    )  # fmt: skip


def kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Returns Cohen's kappa of two raters' marks, each different mark a category of its own; None if
    chance alone would make them agree always, or there is nothing to compare."""
    if not pairs:
        return None
    count = len(pairs)
    ours, theirs = (Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(ours[mark] * theirs[mark] for mark in ours) / count**2
    if chance == 1:
        return None
    return (sum(a == b for a, b in pairs) / count - chance) / (1 - chance)


def table(folder: Path) -> list[str]:
    """A line for each judge and each pair of judges. Raises EvaluationError."""
    found = {
        each.parent.name.removeprefix("by-"): _verdicts(each)
        for each in sorted(folder.glob(f"by-*/{SAMPLES}"))
    }
    if len(found) < 2:
        raise EvaluationError(
            f"{folder} has verdicts of {', '.join(found) or 'nobody'}: evaluate it by another task.judge too"
        )
    lines = [f"{'judges':<32} questions   same  kappa  first more  second more  unread"]
    for (one, ours), (other, theirs) in combinations(found.items(), 2):
        of = agreement(ours, theirs)
        share = f"{100 * of.same / of.questions:.1f}%" if of.questions else "-"
        chance = "-" if of.kappa is None else f"{of.kappa:.3f}"
        lines.append(
            f"{f'{one}, {other}':<32} {of.questions:>9} {share:>6} {chance:>6} {of.first:>11} "
            f"{of.second:>12} {of.unread:>7}"
        )
    return lines


def _verdicts(file: Path) -> dict[Key, Any]:
    found = {}
    for number, row in enumerate(read_samples(file), 1):
        try:
            for place, question in enumerate(row["questions"], 1):
                needed = {name: question[name] for name in ("answer", "mark", "status")}
                found[str(row["id"]), place] = needed
        except (KeyError, TypeError) as error:
            raise EvaluationError(
                f"{file}, line {number} is damaged: let that judge judge again"
            ) from error
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.judges.agreement")
    parser.add_argument("folder", type=Path, help="an evaluation that several judges judged")
    try:
        print("\n".join(table(parser.parse_args(argv).folder)))
    except UserError as error:
        print(f"agreement: {error}", file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
