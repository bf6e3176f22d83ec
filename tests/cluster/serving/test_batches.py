"""What a model refuses of one ask is the answer to that one."""

from __future__ import annotations

from cluster.serving.asks import Refused
from cluster.serving.model import each_or_refused
from policies.config import TinyPolicyConfig
from policies.interface import TextSampling
from policies.listening import listening
from policies.registry import load_policy


def test_one_that_is_refused_does_not_disturb_the_others() -> None:
    policy = load_policy(TinyPolicyConfig())
    policy.sample_on("cpu", "float32")
    texts = ["a red circle", "a red xyzzy", "two blue squares", "plugh", "a green star"]
    greedy = TextSampling(0.0, 6)

    def write(asked: list[str]) -> list[str]:
        return policy.write([(text,) for text in asked], [greedy] * len(asked), [0] * len(asked))

    found = each_or_refused(write, texts)
    good = texts[::2]
    assert found[::2] == write(good)
    assert [isinstance(each, Refused) for each in found] == [False, True, False, True, False]
    assert "xyzzy" in found[1].why and "plugh" in found[3].why


def test_what_is_heard_is_what_is_written() -> None:
    policy = load_policy(TinyPolicyConfig())
    policy.sample_on("cpu", "float32")
    contexts = [("a red circle",), ("two blue squares above a star",), ("a moon",)]
    how = [TextSampling(1.0, 9), TextSampling(0.7, 3), TextSampling(0.0, 12)]
    ids = [list[int]() for _ in contexts]

    def hear(rows: list[int], tokens: list[int]) -> None:
        for row, token in zip(rows, tokens, strict=True):
            ids[row].append(token)

    with listening(hear):
        heard = policy.write(contexts, how, [1, 2, 3])
    assert heard == policy.write(contexts, how, [1, 2, 3])
    assert heard == [policy.text_of(each) for each in ids]
    assert all(len(each) <= h.max_tokens for each, h in zip(ids, how, strict=True)) and any(ids)
