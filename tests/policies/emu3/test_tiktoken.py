"""The released vocabulary gives a text the ids that its definition gives it."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from pathlib import Path

import regex
from hypothesis import given
from hypothesis import strategies as st

from policies.emu3 import tiktoken
from policies.interface import CheckpointError
from tests.policies.emu3.small import WORDS, vocabulary


def naive(ranks: dict[bytes, int], text: str) -> list[int]:
    """The definition: in each piece the two neighbours whose join ranks lowest are joined first."""
    ids = []
    for piece in regex.findall(tiktoken.PIECES, unicodedata.normalize("NFC", text)):
        whole = piece.encode()
        parts = [whole] if whole in ranks else [bytes([byte]) for byte in whole]
        while True:
            joins = [ranks.get(a + b, len(ranks)) for a, b in pairwise(parts)]
            if min(joins, default=len(ranks)) == len(ranks):
                break
            at = joins.index(min(joins))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [ranks[part] for part in parts]
    return ids


SAMPLE = "the cat sat on the mat, and the dog's 2024 hats are not that hot\n\nÄpfel für 猫"


@st.composite
def words(draw: st.DrawFn) -> dict[bytes, int]:
    """All bytes, then words that are each joined from two before them, as by training."""
    known = list(WORDS)
    for _ in range(draw(st.integers(0, 30))):
        piece = draw(st.sampled_from([p.encode() for p in SAMPLE.split(" ")])) + b" "
        start = draw(st.integers(0, len(piece) - 1))
        end = draw(st.integers(start + 1, len(piece)))
        for cut_at in range(start + 2, end + 1):
            if piece[start:cut_at] not in known:
                known.append(piece[start:cut_at])
    return {word: rank for rank, word in enumerate(known)}


@given(words(), st.text(st.sampled_from("the catsdog's2 \n\tÄäe\u0301猫.,*<|>"), max_size=40))
def test_a_text_has_the_ids_of_its_definition(ranks: dict[bytes, int], text: str) -> None:
    tokenizer = tiktoken.join(ranks, ["<|endoftext|>"])
    tokenizer.encode_special_tokens = True
    for each in (text, SAMPLE):
        ids = tokenizer.encode(each, add_special_tokens=False).ids
        assert ids == naive(ranks, each)
        assert tokenizer.decode(ids) == unicodedata.normalize("NFC", each)


def test_marks_have_the_released_ids() -> None:
    """Counted from the end of the words on: 151643 of them in what was released."""
    tokenizer = tiktoken.tokenizer(Path(), vocabulary())
    released = {
        "<|endoftext|>": 151643, "<image>": 151646, "<|extra_200|>": 151846, "<|extra_201|>": 151847,
        "<|extra_203|>": 151849, "<|extra_204|>": 151850, "<|image token|>": 151851,
        "<|image start|>": 151852, "<|image end|>": 151853, "<|visual token 000000|>": 151854,
    }  # fmt: skip
    for mark, wanted in released.items():
        assert tokenizer.token_to_id(mark) - len(WORDS) == wanted - 151643, mark
    assert tokenizer.token_to_id("<|extra_0|>") is None


@given(st.binary(max_size=80))
def test_any_vocabulary_is_read_or_refused_by_its_file(data: bytes) -> None:
    good = vocabulary()[tiktoken.RANKS]
    for damaged in (data, good + data, good[: len(data)] + data, data + good):
        try:
            ranks = tiktoken.parse_ranks(Path("emu3.tiktoken"), damaged)
        except CheckpointError as error:
            assert str(error).startswith("emu3.tiktoken ") and "\n" not in str(error)
        else:
            assert sorted(ranks.values()) == list(range(len(ranks)))
