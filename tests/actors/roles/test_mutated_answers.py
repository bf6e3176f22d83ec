"""4,500 mutated answers: a score is what the text says, to the last digit, or there is none."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import pytest

from actors.roles.answers import parse_judgement, parse_proposal, parse_rating
from tests.mutations import BYTE_CHANGES, Rng, bounded, change_json_text, mutants, pick, tally

pytestmark = pytest.mark.slow

COUNT = 1500
JUDGEMENTS = (
    b'{"analysis": "the circle is red", "score": 8}',
    b'{"analysis": "two of three , \\"c a t\\" \\u00e9", "score": 6.5}',
    b' {\n  "analysis": "",\n  "score": 10}\n',
)
RATINGS = (b'{"score": 10}', b'{"score": 7.25e0}', b'{ "score" : 0 }')
PROPOSALS = (
    b'{"major_category": "counting", "subcategory": "one kind", "prompt": "three red circles"}',
    b'{"prompt": "a \\"sun\\"", "major_category": "Counting ", "subcategory": "two kinds"}',
)

NUMBERS = (
    b"10.0", b"10.0000000000000000001", b"9.99999999999999999999", b"-0", b"-0.0", b"-1e-400", b"1e-400",
    b"1E1", b"1e+1", b"100e-1", b"01", b"+1", b".5", b"5.", b"1e", b"1_0", b"0x1", b"11", b"-1", b"NaN",
    b"1e400", b"1e99999999999999999999", b"true", b'"8"', b"[8]", b"8 8", b"8,", b"\xd9\xa3",
)  # fmt: skip


def renumber(random: Rng, data: bytes) -> bytes:
    """Another number, or what looks like one, for the last one."""
    number = pick(random, NUMBERS)
    return re.sub(rb"[-+.0-9eE]+(?=[^-+.0-9eE]*$)", lambda _: number, data, count=1)


CHANGES = (*BYTE_CHANGES, change_json_text, renumber)

_TEXT = r'"((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"'
_NUMBER = r"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)"


def grammar(*parts: str) -> re.Pattern[str]:
    """The parts in their order, with white space around each."""
    return re.compile(r"[ \t\n\r]*".join(("", *parts, "")))


JUDGEMENT = grammar("{", _TEXT, ":", _TEXT, ",", _TEXT, ":", _NUMBER, "}")
RATING = grammar("{", _TEXT, ":", _NUMBER, "}")


def said(escaped: str) -> str:
    """The text of a JSON string, pairs of surrogates joined."""
    simple = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

    def letter(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else simple.get(code, code)

    plain = re.sub(r"\\(u[0-9a-fA-F]{4}|.)", letter, escaped)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def score(number: str) -> float | None:
    """Exactly, for exponents that can be written out; what a thousand digits do not tell is left."""
    digits, _, exponent = number.lower().partition("e")
    if len(exponent) > 5 or (len(digits) > 1000 and "." not in digits[:1000]):
        return None
    exact = Fraction(f"{digits[:1000]}e{exponent or 0}")
    return float(exact) if 0 <= exact <= 10 else None


def stated_judgement(text: str) -> tuple[str, float] | None:
    found = JUDGEMENT.fullmatch(text)
    if found is None or [said(found[1]), said(found[3])] != ["analysis", "score"]:
        return None
    analysis, value = said(found[2]), score(found[4])
    whole = not re.search("[\ud800-\udfff]", analysis)
    return (analysis, value) if value is not None and whole else None


def stated_rating(text: str) -> float | None:
    found = RATING.fullmatch(text)
    return score(found[2]) if found is not None and said(found[1]) == "score" else None


@pytest.mark.parametrize("seed", range(3))
def test_a_score_is_read_exactly_where_the_text_states_one(seed: int) -> None:
    read = 0
    good = (JUDGEMENTS, RATINGS, PROPOSALS)[seed]
    for name, _, mutant in mutants(seed, COUNT, good, CHANGES):
        text = mutant.decode(errors="surrogateescape")
        with bounded(name):
            judgement, rating = parse_judgement(text), parse_rating(text)
            proposal = parse_proposal(text, "counting", 0, 0)
        found = judgement and (judgement.analysis, judgement.score)
        assert found == stated_judgement(text), f"{name}: {text!r}"
        assert rating == stated_rating(text), f"{name}: {text!r}"
        if proposal is not None:
            fields = json.loads(text)
            assert fields["major_category"].strip().lower() == "counting", f"{name}: {text!r}"
            assert proposal.prompt == " ".join(fields["prompt"].split()) != "", f"{name}: {text!r}"
        read += any(each is not None for each in (judgement, rating, proposal))
    tally(f"answers, seed {seed}", read, COUNT, 0.05, 0.5)
