"""Strict reading of what a model wrote: whatever it is, a valid record or None."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.replay.records import Judgement
from actors.roles.answers import ask, parse_judgement, parse_proposal, parse_rating
from policies.interface import Context, TextSampling

GOOD = (
    '{"analysis": "the circle is red", "score": 8}',
    '{"score": 10}',
    '{"major_category": "counting", "subcategory": "one kind", "prompt": "three red circles"}',
)
PARTS = (
    "{", "}", "[", "]", '"', "\\", ":", ",", "NaN", "Infinity", "-", "1e999", "null", "true", "```",
    "\n", "\ud800", "\\ud800", "\\u0000", '"score"', '"analysis"', '"prompt"', "11", "-1", "7.5",
    "9" * 5000, "[" * 3000, '"score": 3',
)  # fmt: skip
MUTATION = st.tuples(
    st.floats(0, 1), st.integers(0, 12), st.one_of(st.sampled_from(PARTS), st.text(max_size=6))
)


def check(text: str) -> None:
    """No exception, and what was read is what a record may hold."""
    judgement, score = parse_judgement(text), parse_rating(text)
    if judgement is not None:
        assert judgement.score is not None and 0 <= judgement.score <= 10
        judgement.analysis.encode()
        assert list(json.loads(text)) == ["analysis", "score"]
    if score is not None:
        assert type(score) is float and 0 <= score <= 10
    proposal = parse_proposal(text, "counting", 3, 4)
    if proposal is not None:
        assert proposal.category == "counting" and (proposal.index, proposal.seed) == (3, 4)
        assert proposal.prompt.strip() and proposal.subcategory.strip()
        proposal.prompt.encode()


@pytest.mark.slow
@settings(max_examples=10_000)
@given(st.sampled_from(GOOD), st.lists(MUTATION, min_size=1, max_size=4))
def test_a_mutated_answer_is_a_valid_record_or_none(
    text: str, mutations: list[tuple[float, int, str]]
) -> None:
    for place, cut, new in mutations:
        at = int(place * len(text))
        text = text[:at] + new + text[at + cut :]
    check(text)


@settings(max_examples=500)
@given(st.text(max_size=80), st.floats(0, 10))
def test_what_is_written_is_read_again(analysis: str, score: float) -> None:
    try:
        analysis.encode()
    except UnicodeEncodeError:
        return
    read = parse_judgement(Judgement(analysis, score, 3).text(), attempts=3)
    assert read is not None and read.score is not None
    assert (read.analysis, read.attempts) == (analysis, 3)
    assert read.score == int(read.score) and abs(read.score - score) <= 0.5


def test_a_judgement_is_written_as_the_tiny_model_writes_it() -> None:
    assert Judgement("all is right", 10.0, 1).text() == (
        '{"analysis": "all is right", "score": 10}'
    )
    assert Judgement("half", 6.5, 1).text() == '{"analysis": "half", "score": 7}'
    assert Judgement('the word " sun " é', 0.0, 1).text() == (
        '{"analysis": "the word \\" sun \\" é", "score": 0}'
    )


def test_an_unparsable_judgement_has_no_text() -> None:
    with pytest.raises(ValueError, match="unparsable after 3 attempts"):
        Judgement("", None, 3).text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "null",
        "[]",
        'Sure:\n```json\n{"analysis": "x", "score": 8}\n```',
        '```json\n{"analysis": "x", "score": 8}',
        '```json {"analysis": "x", "score": 8} ```',
        '```yaml\n{"analysis": "x", "score": 8}\n```',
        '```json\n```json\n{"analysis": "x", "score": 8}\n```\n```',
        'Here it is: {"analysis": "x", "score": 8}',
        '{"analysis": "x", "score": 8} ok',
        '{"analysis": "x", "score": 8, "more": 1}',
        '{"score": 8, "analysis": "x"}',
        '{"analysis": "x"}',
        '{"analysis": "x", "score": "8"}',
        '{"analysis": "x", "score": true}',
        '{"analysis": "x", "score": NaN}',
        '{"analysis": "x", "score": Infinity}',
        '{"analysis": "x", "score": 1e999}',
        '{"analysis": "x", "score": 10.5}',
        '{"analysis": "x", "score": -1}',
        '{"analysis": "x", "score": null}',
        '{"analysis": 3, "score": 8}',
        '{"analysis": "x", "score": 3, "score": 8}',
        '{"analysis": "\\ud800", "score": 8}',
        '{"analysis": "x", "score": ' + "9" * 6000 + "}",
        "[" * 100_000,
    ],
)
def test_refused_judgements(text: str) -> None:
    assert parse_judgement(text) is None


def test_one_fence_around_all_of_an_answer_is_taken_off() -> None:
    plain = '{"analysis": "x", "score": 8}'
    for text in (f"```json\n{plain}\n```", f"\n```\n{plain}\n```\n", f"```json \n {plain} \n```"):
        assert parse_judgement(text) == parse_judgement(plain) == Judgement("x", 8.0, 1)
    assert parse_rating('```json\n{"score": 3}\n```') == 3.0


def test_scores_may_be_whole_or_not() -> None:
    assert parse_judgement(' {"analysis": "x", "score": 7.5}\n') == Judgement("x", 7.5, 1)
    assert parse_rating('{"score": 0}') == 0.0
    assert parse_rating('{"score": false}') is None
    assert parse_rating('{"analysis": "x", "score": 8}') is None
    assert parse_rating(json.dumps({"score": math.nan})) is None


def test_a_score_is_judged_as_written_and_then_rounded() -> None:
    for beyond in ("10.0000000000000000001", "-1e-400", "-0.0000001", "1e9999999999999999999"):
        assert parse_rating(f'{{"score": {beyond}}}') is None
    for text, score in (("9.99999999999999999999", 10.0), ("1e-400", 0.0), ("1e1", 10.0)):
        assert parse_rating(f'{{"score": {text}}}') == score


def test_a_proposal_is_of_the_category_that_was_asked_for() -> None:
    text = '{"major_category": "Counting", "prompt": " three  red circles ", "subcategory": "one"}'
    proposal = parse_proposal(text, "counting", 7, 11)
    assert proposal is not None
    assert (proposal.category, proposal.subcategory) == ("counting", "one")
    assert (proposal.prompt, proposal.index, proposal.seed) == ("three red circles", 7, 11)
    assert parse_proposal(text, "portrait", 7, 11) is None
    assert parse_proposal(text.replace(" three  red circles ", "  "), "counting", 7, 11) is None
    assert parse_proposal(text.replace('"one"', "1"), "counting", 7, 11) is None


class Speaker:
    """Writes down what it is asked; row r is answered well from its attempt `good[r]` on."""

    def __init__(self, good: Sequence[int]) -> None:
        self.good = good
        self.asked: list[list[tuple[int, int, float]]] = []

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[TextSampling], seeds: Sequence[int]
    ) -> list[str]:
        batch = [
            (int(str(c[0])), s, how.temperature) for c, s, how in zip(contexts, seeds, sampling)
        ]
        self.asked.append(batch)
        return [f'{{"score": {row}}}' if s % 10 >= self.good[row] else "" for row, s, _ in batch]


def test_only_unparsable_rows_are_asked_again_and_warmer() -> None:
    speaker = Speaker([0, 2, 1, 9])
    answers = ask(
        speaker.write, [(str(row),) for row in range(4)], TextSampling(0.0),
        lambda row, attempt: 100 * row + attempt,
        lambda row, seed, text: None if not text else (seed, parse_rating(text)), attempts=3,
    )  # fmt: skip
    assert answers == [((0, 0.0), 1), ((102, 1.0), 3), ((201, 2.0), 2), (None, 3)]
    assert speaker.asked == [
        [(0, 0, 0.0), (1, 100, 0.0), (2, 200, 0.0), (3, 300, 0.0)],
        [(1, 101, 0.7), (2, 201, 0.7), (3, 301, 0.7)],
        [(1, 102, 0.7), (3, 302, 0.7)],
    ]


def test_a_hotter_question_stays_as_hot() -> None:
    speaker = Speaker([1])
    ask(speaker.write, [("0",)], TextSampling(1.2), lambda _, attempt: attempt,
        lambda _, __, text: parse_rating(text), attempts=5)  # fmt: skip
    assert [batch[0][2] for batch in speaker.asked] == [1.2, 1.2]
    assert ask(speaker.write, [], TextSampling(), lambda *_: 0, lambda *_: None, 3) == []


COUNTED = (
    '{"target_quantity": 3, "detected_quantity": "2 red, 1 blue", "analysis": "x", "score": 2}'
)


def test_a_judgement_that_counts_says_what_it_counted_first() -> None:
    assert parse_judgement(COUNTED, counts=True) == Judgement("x", 2.0, 1, ("3", "2 red, 1 blue"))
    assert parse_judgement(COUNTED) is None
    assert parse_judgement('{"analysis": "x", "score": 2}', counts=True) is None
    for wrong in ("-1", "true", "2.5", "null", '" "', "[3]", "1000000000", '"\\ud800"'):
        assert parse_judgement(COUNTED.replace("3,", f"{wrong},", 1), counts=True) is None


@given(st.integers(0, 10**9 - 1).map(str) | st.text(max_size=9), st.text(min_size=1, max_size=9))
def test_what_was_counted_is_read_as_it_is_written(target: str, detected: str) -> None:
    quantities = (" ".join(target.split()), " ".join(detected.split()))
    try:
        text = Judgement("x", 4.0, 1, quantities).text()
        text.encode()
    except UnicodeEncodeError:
        return
    read = parse_judgement(text, counts=True)
    assert (read and read.quantities) == (quantities if all(quantities) else None)


def test_a_counted_judgement_is_written_with_plain_numbers() -> None:
    assert Judgement("x", 2.0, 1, ("3", "two")).text() == (
        '{"target_quantity": 3, "detected_quantity": "two", "analysis": "x", "score": 2}'
    )


def test_a_proposal_may_be_the_only_one_of_a_list() -> None:
    one = '{"major_category": "counting", "subcategory": "one", "prompt": "three cups"}'
    assert parse_proposal(f"[{one}]", "counting", 0, 0) == parse_proposal(one, "counting", 0, 0)
    assert parse_proposal(f" [ {one} ]\n", "counting", 0, 0) is not None
    for wrong in ("[]", f"[{one}, {one}]", f"[[{one}]]", f"{one}, {one}", '["three cups"]'):
        assert parse_proposal(wrong, "counting", 0, 0) is None
    assert parse_judgement('[{"analysis": "x", "score": 8}]') is None
