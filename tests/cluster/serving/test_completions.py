"""Pieces of an answer, put together, are the answer."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cluster.serving.asks import Ask, Written
from cluster.serving.completions import Completion
from policies.interface import TextSampling

ASKS = [Ask(("describe",), TextSampling(1.0, 4), seed) for seed in (1, 2)]


def events(pieces: list[str]) -> list[dict]:
    assert all(piece.startswith("data: ") and piece.endswith("\n\n") for piece in pieces)
    return [json.loads(piece.removeprefix("data: ")) for piece in pieces]


@given(st.lists(st.text(max_size=4), min_size=1, max_size=6), st.integers(0, 6))
def test_pieces_make_the_whole_also_where_it_began_anew(words: list[str], lost: int) -> None:
    texts = ["".join(words[:end]) for end in range(1, len(words) + 1)]
    told = [*texts[:lost], *texts]  # the replica died, and another one begins at the beginning
    answer = Completion("tiny", ASKS)
    found = Written(texts[-1], 3)
    pieces = [piece for text in told for piece in answer.grown(0, text)]
    pieces += answer.grown(0, found)
    choices = [event["choices"][0] for event in events(pieces)]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(each["delta"].get("content", "") for each in choices) == texts[-1]
    assert [each["finish_reason"] for each in choices][-1] == "stop"
    assert {each["finish_reason"] for each in choices[:-1]} <= {None}


def test_half_a_letter_waits_for_its_other_half() -> None:
    answer = Completion("tiny", ASKS)
    told = [
        *answer.grown(0, "a \ufffd"),
        *answer.grown(0, "a é"),
        *answer.grown(0, Written("a é", 2)),
    ]
    said = [event["choices"][0]["delta"].get("content") for event in events(told)]
    assert [each for each in said if each] == ["a é"]


def test_an_answer_that_was_cut_says_so_and_all_are_counted() -> None:
    answer = Completion("tiny", ASKS)
    whole = answer.whole([Written("a b c d", 4), Written("a", 1)])
    assert [each["finish_reason"] for each in whole["choices"]] == ["length", "stop"]
    assert whole["usage"] == {"prompt_tokens": 0, "completion_tokens": 5, "total_tokens": 5}
    for i, text in enumerate((Written("a b c d", 4), Written("a", 1))):
        list(answer.grown(i, text))
    (used,) = events([answer.used()])
    assert used["choices"] == [] and used["usage"] == whole["usage"]
