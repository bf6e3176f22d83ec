"""What an evaluation found, with what it rests on.

Invariant: nothing is averaged in silently: how many drawings, answers and verdicts were missing stands
beside every score, and so does what the score would be at most if every verdict that could not be read
had been a yes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from evaluation.unicycle.instances import KINDS, Instance
from evaluation.unicycle.judging import Verdict
from evaluation.unicycle.scoring import final, hard, interval, soft


class Scored(NamedTuple):
    """An instance with the verdict of each of its questions."""

    instance: Instance
    verdicts: tuple[Verdict, ...]

    def marks(self) -> list[float]:
        return [each.mark for each in self.verdicts]

    def most(self) -> list[float]:
        return [each.most for each in self.verdicts]


def summary(scored: Sequence[Scored]) -> dict[str, Any]:
    """Returns the scores (0 to 100), each with its 95 % interval, and what was counted. Raises
    ValueError if there is nothing to score."""
    kinds = dict.fromkeys(each.instance.kind for each in scored)
    return {
        "instances": len(scored),
        "questions": sum(len(each.verdicts) for each in scored),
        "soft": _score(scored, soft),
        "hard": _score(scored, hard),
        "kinds": {
            kind: _of_kind([each for each in scored if each.instance.kind == kind])
            for kind in kinds
        },
        "question_kinds": _by_question(scored),
        "counted": counted(scored),
    }


def counted(scored: Sequence[Scored]) -> dict[str, int]:
    """Returns how many instances had no drawing, and how many questions had no answer, a verdict that
    could not be read, or more words counted than there are."""
    found = Counter(verdict.status for each in scored for verdict in each.verdicts)
    drawn = [all(verdict.status != "no_drawing" for verdict in each.verdicts) for each in scored]
    clamped = sum(verdict.clamped for each in scored for verdict in each.verdicts)
    return {
        "no_drawing": drawn.count(False),
        "no_answer": found["no_answer"],
        "unparsable": found["unparsable"],
        "clamped": clamped,
    }


def _score(
    scored: Sequence[Scored], formula: Callable[[Sequence[float]], float]
) -> dict[str, float]:
    values = [formula(each.marks()) for each in scored]
    low, high = interval(values)
    most = final([formula(each.most()) for each in scored])
    return {"score": final(values), "low": low, "high": high, "at_most": most}


def _of_kind(scored: Sequence[Scored]) -> dict[str, float]:
    return {
        "instances": len(scored),
        "soft": final([soft(each.marks()) for each in scored]),
        "hard": final([hard(each.marks()) for each in scored]),
    }


def _by_question(scored: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """The mean mark of each kind of question, times 100."""
    marks: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for each in scored:
        for question, verdict in zip(each.instance.questions, each.verdicts, strict=True):
            marks[question.kind].append(verdict.mark)
    return {kind: {"questions": len(of), "score": final(of)} for kind, of in marks.items() if of}
