"""Judges answers as the paper does: a language model that reads the prompt, and never the drawing.

Invariant: a verdict says what it rests on. Whatever the paper leaves open is decided here and counted:
no drawing, no answer and a judge that cannot be read give 0, and of these only the last might have
been right (`most`); more words than keywords count as all keywords. A reply is read strictly, and one
about another question is no reply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from actors.roles.answers import parse_object
from evaluation.unicycle import rules
from evaluation.unicycle.asking import reference, understood
from evaluation.unicycle.instances import Instance, Question

Status = Literal["judged", "no_drawing", "no_answer", "unparsable"]

YES_OR_NO = """\
You grade one answer about a picture that you do not see. All you know of the picture is the prompt \
that it was meant to be drawn from, and the prompt alone decides.

Task type: {kind}
Image prompt: {prompt}
Question: {question}
Answer: {answer}
Reference answer: {reference}

Say "yes" if the image prompt, read for this task type, supports the answer, and "no" otherwise. Use \
the reference only to see whether two wordings mean the same. Small and capital letters, punctuation, \
white space and small slips of spelling do not matter. An answer that refuses, hedges, says that it \
cannot be told, or gives several answers where one is asked for is "no".

Reply with one JSON object and nothing else, with these keys in this order:
{{"question": the question as it stands above, "answer": the answer as it stands above, "evaluation": \
"yes" or "no"}}"""

WORDS = """\
You count how many words were read rightly from a picture that you do not see. The image prompt says \
which words the picture was meant to show.

Image prompt: {prompt}
Question: {question}
Answer: {answer}
Reference answer: {reference}
The words of the reference: {keywords}

Count the words of the reference that the answer has. Each of them counts once for each time that it \
stands in the reference; small and capital letters and punctuation do not matter; words that are not in \
the reference count nothing.

Reply with one JSON object and nothing else, with these keys in this order:
{{"question": the question as it stands above, "answer": the answer as it stands above, "evaluation": \
the number of words, as a whole number}}"""

PROMPT_HASH = hashlib.sha256(f"{YES_OR_NO}\0{WORDS}".encode()).hexdigest()[:16]
"""Stands with every score: scores of two judges' prompts do not compare."""

TOO_MANY = 1000
"""Words that no picture holds: a judge that counts so many did not count."""


@dataclass(frozen=True)
class Verdict:
    """`mark` is s_k, from 0 to 1, and `most` what it may have been at most; `clamped` where a judge
    counted more words than there are."""

    mark: float
    status: Status
    clamped: bool = False

    @property
    def most(self) -> float:
        return 1.0 if self.status == "unparsable" else self.mark


NO_DRAWING = Verdict(0.0, "no_drawing")
NO_ANSWER = Verdict(0.0, "no_answer")
UNPARSABLE = Verdict(0.0, "unparsable")


def by_rules(question: Question, answer: str) -> Verdict:
    """The exact rules' verdict: they read everything, so that none is unparsable."""
    return Verdict(rules.mark(question, answer), "judged") if answer.strip() else NO_ANSWER


def instruction(instance: Instance, question: Question, answer: str) -> str:
    """Returns what a judge is asked about `answer`."""
    template = WORDS if question.kind == "text" else YES_OR_NO
    return template.format(
        kind=instance.kind, prompt=instance.prompt, question=question.text,
        answer=understood(question, answer), reference=reference(question),
        keywords=", ".join(question.keywords),
    )  # fmt: skip


def read_reply(question: Question, reply: str) -> Verdict:
    """Returns the verdict that a judge's reply says; UNPARSABLE where it says none, or is about
    another question."""
    fields = parse_object(reply)
    if fields is None or set(fields) != {"question", "answer", "evaluation"}:
        return UNPARSABLE
    if not _same(fields["question"], question.text):
        return UNPARSABLE
    found = fields["evaluation"]
    if question.kind == "text":
        return _counted(found, len(wanted(question)))
    said = rules.normalise_answer(found) if isinstance(found, str) else ""
    return Verdict(float(said == "yes"), "judged") if said in ("yes", "no") else UNPARSABLE


def wanted(question: Question) -> Sequence[str]:
    """The words that a text question wants to be read."""
    return [word for keyword in question.keywords for word in rules.words(keyword)]


def _counted(found: object, most: int) -> Verdict:
    """A number may stand in quotes, as a yes does."""
    if isinstance(found, str) and found.strip().isascii() and found.strip().isdigit():
        found = int(found.strip()[:9])
    if isinstance(found, bool) or not isinstance(found, int | Decimal):
        return UNPARSABLE
    # Bounded before anything else: int() of 1e999999 would take all memory.
    if not 0 <= found < TOO_MANY or found != int(found):
        return UNPARSABLE
    return Verdict(min(1.0, int(found) / most), "judged", clamped=found > most)


def _same(said: object, text: str) -> bool:
    return isinstance(said, str) and rules.normalise_answer(said) == rules.normalise_answer(text)
