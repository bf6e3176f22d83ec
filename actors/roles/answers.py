"""What the model wrote, read strictly: either a valid record or None, never an exception.

Invariant: an answer is one JSON object with exactly the keys that were asked for, and nothing
around it but one code fence (a proposal may be the only one of a list). Nothing is repaired: what cannot
be read is asked again, and then is recorded as unparsable. Scores are numbers from 0 to 10, judged as written and only then rounded to a float.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from actors.replay.records import QUANTITIES, Judgement, Proposal
from policies.interface import Context, TextSampling

Answer = TypeVar("Answer")
Write = Callable[[Sequence[Context], Sequence[TextSampling], Sequence[int]], list[str]]

FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n([^`]*)\n```\s*")

# Asked again greedily, a model would repeat itself word for word.
REASKED_TEMPERATURE = 0.7


def ask(
    write: Write,
    contexts: Sequence[Context],
    sampling: TextSampling,
    seed: Callable[[int, int], int],
    parse: Callable[[int, int, str], Answer | None],
    attempts: int,
) -> list[tuple[Answer | None, int]]:
    """Asks every row, and up to `attempts` times those whose answer does not parse.

    `seed(row, attempt)` counts both from 0; `parse(row, seed, text)` is told which seed wrote the
    text. Gives for each row its answer, None if none could be parsed, and how often it was asked.
    """
    found: list[tuple[Answer | None, int]] = [(None, attempts)] * len(contexts)
    left = list(range(len(contexts)))
    for attempt in range(attempts):
        if not left:
            break
        how = sampling if attempt == 0 else _warmer(sampling)
        seeds = [seed(row, attempt) for row in left]
        texts = write([contexts[row] for row in left], [how] * len(left), seeds)
        for row, own, text in zip(left, seeds, texts, strict=True):
            found[row] = (parse(row, own, text), attempt + 1)
        left = [row for row in left if found[row][0] is None]
    return found


def _warmer(sampling: TextSampling) -> TextSampling:
    return replace(sampling, temperature=max(sampling.temperature, REASKED_TEMPERATURE))


def parse_judgement(text: str, attempts: int = 1, counts: bool = False) -> Judgement | None:
    """`{"analysis": "...", "score": 7}`, in this order: a score that stands before its reasons was
    not reasoned. One that `counts` begins with a target_quantity and a detected_quantity, each a
    whole number or a text."""
    fields, counted = parse_object(text), QUANTITIES if counts else ()
    if fields is None or list(fields) != [*counted, "analysis", "score"]:
        return None
    analysis, score = fields["analysis"], _score(fields["score"])
    quantities = [_quantity(fields[name]) for name in counted]
    if score is None or not is_text(analysis) or None in quantities:
        return None
    target, detected = [quantity or "" for quantity in quantities] or ("", "")
    return Judgement(analysis, score, attempts, (target, detected) if counts else None)


def parse_rating(text: str) -> float | None:
    """`{"score": 7}`."""
    fields = parse_object(text)
    if fields is None or set(fields) != {"score"}:
        return None
    return _score(fields["score"])


def parse_proposal(text: str, category: str, index: int, seed: int) -> Proposal | None:
    """`{"major_category": "...", "subcategory": "...", "prompt": "..."}` of the asked `category`
    (small or capital letters are the same; the record holds the asked spelling), or a list of this
    one object."""
    value = _value(text)
    fields = _object(value[0] if isinstance(value, list) and len(value) == 1 else value)
    if fields is None or set(fields) != {"major_category", "subcategory", "prompt"}:
        return None
    if not all(is_text(value) and value.strip() for value in fields.values()):
        return None
    if _spelled(fields["major_category"]) != _spelled(category):
        return None
    prompt = " ".join(fields["prompt"].split())
    return Proposal(index, category, fields["subcategory"].strip(), prompt, seed)


def parse_object(text: str) -> dict[str, Any] | None:
    """The one JSON object that `text` is, or None; a model's thought may come before it."""
    return _object(_value(without_thought(text)))


def without_thought(text: str) -> str:
    """What comes after the last thought: some servers leave it in the reply, some of them without its
    beginning."""
    return text.rpartition("</think>")[2]


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _value(text: str) -> Any:
    """The JSON value that `text` is, or None; it may be all that a code fence holds."""
    fenced = FENCE.fullmatch(text)
    try:
        return json.loads(
            fenced[1] if fenced else text,
            object_pairs_hook=_no_repeats,
            parse_constant=_refuse,
            parse_float=Decimal,
        )
    # An exponent that is too large for Decimal is an ArithmeticError.
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")
    return fields


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _score(value: Any) -> float | None:
    # A bool is an int in Python. Floats would not tell 10.0000000000000001 from 10.
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= 10:
        return None
    return float(value)


def _quantity(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 <= value < 10**9 else None
    return " ".join(value.split()) or None if is_text(value) else None


def is_text(value: Any) -> bool:
    """Half of a surrogate pair is a str that no file can hold."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _spelled(name: str) -> str:
    return " ".join(name.split()).casefold()
