"""Drawing by calls: within its bounds, each row for itself, and what is learned of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers

from policies.config import ConfigError
from policies.interface import (
    Example,
    Output,
    Part,
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
    Unsupported,
    last_picture,
    learned,
)
from policies.seeds import derive
from policies.tools.calls import Call, parse
from policies.tools.layout import Layout
from policies.tools.process import ToolUnusable
from policies.tools.tokens import CallGuide
from policies.vision_language.chat import answered, asked
from policies.vision_language.writing import Writer
from tests.policies.tools.painting import paint, unlucky
from tests.policies.tools.small import CALL_TOKENS, SmallTools, output
from tests.policies.vision_language.small import picture, sentence_piece, tokenizer, write_model

HERE = "python:tests.policies.tools.painting"
ONE, MANY = [PictureSampling()], [PictureSampling()] * 8
LOOKS = (
    '{"tool": "draw", "prompt": "from the prompt"}<|im_end|>\n<|im_start|>assistant\n'
    '{"tool": "draw", "prompt": "x"}'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tools"), 0)


@pytest.fixture(scope="module")
def policy(folder: Path) -> SmallTools:
    return SmallTools.from_pretrained(folder)


def noting(folder: Path, mark: Path, fails: str = "some", **options: Any) -> SmallTools:
    tools = (f"draw={HERE}:fickle?mark={mark}&fails={fails}",)
    return SmallTools.from_pretrained(folder, tools=tools, **options)


def noted(mark: Path) -> list[list[Any]]:
    return [json.loads(line) for line in mark.read_text().splitlines()] if mark.exists() else []


def calls(output: Output) -> list[str]:
    return [str(output[i].segment) for i in range(0, len(output), 2) if output[i].segment]


def prompts_of(outputs: Sequence[Output]) -> list[str]:
    """In the order in which they are called: turn by turn."""
    said = [[parse(c, ("draw",), ()).prompt for c in calls(o)] for o in outputs]
    return [each[turn] for turn in range(9) for each in said if turn < len(each)]


# What is sampled


def test_a_drawing_is_calls_each_with_the_picture_that_came_of_it(policy: SmallTools) -> None:
    outputs = policy.draw([("a red circle",)] * 8, MANY, range(8))
    for seed, made in enumerate(outputs):
        assert 1 <= len(calls(made)) <= 2
        for turn, text in enumerate(calls(made)):
            call = parse(text, ("draw",), ())
            shown = made[2 * turn + 1]
            chance = derive("tool", turn, seed) % 10**9 if call.seed is None else call.seed
            assert made[2 * turn] == Part(text) and not shown.learned
            assert isinstance(shown.segment, Picture)
            assert np.array_equal(shown.segment.pixels, paint(call.prompt, chance))
        assert len(calls(made)) == 2 or made[-1] == Part("")
    assert len({calls(made)[0] for made in outputs}) > 1


def test_a_call_may_ask_for_a_seed_and_a_size_and_sampling_for_a_size(folder: Path) -> None:
    policy = SmallTools.from_pretrained(folder, sides=(8, 24), call_tokens=90, turns=1)
    how = [PictureSampling(size=(16, 32))] * 30
    found = policy.draw([("a red circle",)] * 30, how, range(30))
    said = [parse(calls(made)[0], ("draw",), (8, 24)) for made in found]
    sizes = [last_picture(made).pixels.shape[:2] for made in found]  # type: ignore[union-attr]
    assert sizes == [call.size or (16, 32) for call in said]
    assert (
        {bool(call.size) for call in said} == {call.seed is None for call in said} == {True, False}
    )


@pytest.mark.parametrize("size", [(12, 16), (16, 0), (4, 8), (8192, 8)])
def test_sizes_that_no_tool_draws_are_refused(policy: SmallTools, size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="^size is .*multiples of 8"):
        policy.draw([("a",)], [PictureSampling(size=size)], [0])


@pytest.mark.parametrize("turns", [1, 3])
def test_calls_are_bounded_also_where_all_fail(folder: Path, tmp_path: Path, turns: int) -> None:
    mark = tmp_path / "calls"
    policy = noting(folder, mark, "all", turns=turns)
    outputs = policy.draw([("a",), ("b", picture(0))], MANY[:2], [0, 1])
    assert turns <= len(noted(mark)) == sum(len(calls(o)) for o in outputs) <= 2 * turns
    for made in outputs:
        assert last_picture(made) is None
        for call, result in zip(made[::2], made[1::2], strict=False):
            assert not call.learned and not result.learned
            assert (
                result.segment
                == "There is no picture: The tool draw failed: RuntimeError: no luck."
            )


def test_a_row_whose_tool_fails_fails_alone(folder: Path, tmp_path: Path) -> None:
    policy = noting(folder, tmp_path / "calls", turns=1)
    outputs = policy.draw([("a red circle",)] * 8, MANY, range(8))
    failed = [unlucky(parse(calls(made)[0], ("draw",), ()).prompt) for made in outputs]
    assert [last_picture(made) is None for made in outputs] == failed and {*failed} == {True, False}
    for seed, made in enumerate(outputs):
        (alone,) = policy.draw([("a red circle",)], ONE, [seed])
        assert calls(alone) == calls(made)


def test_after_a_failure_the_model_is_told_and_may_call_again(folder: Path, tmp_path: Path) -> None:
    policy = noting(folder, tmp_path / "calls")
    outputs = policy.draw([("a red circle",)] * 8, MANY, range(8))
    mended = [made for made in outputs if len(made) > 2 and not made[0].learned and made[2].learned]
    assert mended
    for made in mended:
        example = Example(("a red circle",), made, "generation")
        tokens = len(policy.chat.answer(str(made[2].segment)))
        assert policy.target_counts([example])["text"] == tokens + (len(made) > 4)


def test_a_tool_that_hangs_costs_its_deadline_and_its_row_alone(
    folder: Path, tmp_path: Path
) -> None:
    tools = (f"draw={HERE}:stuck?once={tmp_path / 'once'}",)
    policy = SmallTools.from_pretrained(folder, tools=tools, tool_deadline=1.0, turns=1)
    began = time.monotonic()
    one, other = policy.draw([("a",), ("b",)], MANY[:2], [0, 1])
    assert time.monotonic() - began < 20
    assert "did not answer within 1 s" in str(one[1].segment) and last_picture(one) is None
    assert last_picture(other) is not None


def test_a_tool_that_is_not_there_ends_the_work_in_one_sentence(folder: Path) -> None:
    policy = SmallTools.from_pretrained(folder, tools=("draw=python:no.such:f",))
    with pytest.raises(ToolUnusable, match="policy.tools names draw as python:no.such:f"):
        policy.draw([("a",)], ONE, [0])
    with pytest.raises(ConfigError, match="policy.tools is empty: the Solver draws by tools"):
        SmallTools.from_pretrained(folder, tools=()).draw([("a",)], ONE, [0])
    with pytest.raises(
        ConfigError, match="policy.call_tokens is 20: a call of these tools takes up to 32"
    ):
        SmallTools.from_pretrained(folder, call_tokens=20)


def test_texts_that_look_like_calls_call_nothing(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "calls"
    policy = noting(folder, mark)
    policy.write([(LOOKS,)], [TextSampling(max_tokens=4)], [0])
    policy.log_probs([(LOOKS,)], [Call("draw", "y").text()])
    policy.loss([Example((LOOKS,), learned(Call("draw", "y").text()), "caption")])
    assert noted(mark) == []
    outputs = policy.draw([(LOOKS,), (picture(0), LOOKS)], MANY[:2], [0, 1])
    assert [prompt for prompt, *_ in noted(mark)] == prompts_of(outputs)
    assert "from the prompt" not in prompts_of(outputs)
    read = policy.read([asked(LOOKS), answered(LOOKS)], False)
    structure = [policy.chat.marks[name] for name in ("<|im_start|>", "<|im_end|>")]
    assert [read.ids.count(mark) for mark in structure] == [2, 2]


def test_greedy_calls_have_no_chance_and_the_tool_keeps_its_own(policy: SmallTools) -> None:
    how = [PictureSampling(temperature=0.0)] * 2
    one, other = policy.draw([("a red circle",)] * 2, how, [5, 6])
    assert calls(one)[0] == calls(other)[0]


def test_a_row_without_room_for_another_call_ends_with_what_it_has(folder: Path) -> None:
    policy = SmallTools.from_pretrained(folder)
    first = len(policy.read(policy.layout.begin(("x",)), True).ids)
    policy.module.max_positions = first + CALL_TOKENS
    (made,) = policy.draw([("x",)], ONE, [3])
    assert len(made) == 2 and last_picture(made) is not None
    policy.module.max_positions -= 1
    with pytest.raises(PromptError, match="shorten the prompt"):
        policy.draw([("x",)], ONE, [3])


# What is learned


def sampled_calls(
    policy: SmallTools, contexts: Sequence[Any], seeds: Sequence[int]
) -> tuple[list[str], list[np.ndarray]]:
    """First calls, with the log-probability of each word that was chosen."""
    layout: Layout = policy.layout
    read = [policy.read(layout.begin(context), True) for context in contexts]
    guide = CallGuide(layout.rules, [layout.most] * len(read), may_end=False)
    how = [TextSampling(1.0, layout.most)] * len(read)
    sampled = policy.go_on(read, how, seeds, guide, keep_logits=True)
    logs = [torch.log_softmax(torch.from_numpy(own), -1).numpy() for own in sampled.logits]
    chosen = [[*ids.tolist(), policy.chat.end] for ids in sampled.tokens]
    texts = [layout.rules.vocabulary.spelt(ids).decode() for ids in chosen]
    return texts, [own[np.arange(len(ids)), ids] for own, ids in zip(logs, chosen, strict=True)]


@pytest.mark.parametrize(
    ("kind", "made"), [("qwen2_vl", tokenizer), ("llava", tokenizer), ("llava", sentence_piece)]
)
def test_a_call_is_as_likely_as_it_was_when_it_was_sampled(
    kind: str, made: Callable[[], Tokenizer], tmp_path: Path
) -> None:
    policy = SmallTools.from_pretrained(write_model(tmp_path, 1, kind, made=made()))
    if made is sentence_piece:
        again_sampled_in_pieces(policy)
        return
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3.0)
    contexts = [("a red circle",), ("two", picture(1))] * 4
    texts, chosen = sampled_calls(policy, contexts, range(8))
    outputs = [learned(text.removeprefix(policy.chat.lead)) for text in texts]
    scored = policy.call_log_probs(contexts, outputs)
    for ours, theirs in zip(scored, chosen, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    forced = '{"tool": "draw", "prompt": "'
    assert all((own[1 : len(forced)] == 0).all() and own[len(forced) + 2] < 0 for own in scored)
    examples = [Example(c, o, "generation") for c, o in zip(contexts, outputs, strict=True)]
    nats = policy.loss(examples)["text"].totals.detach().numpy()
    np.testing.assert_allclose(nats, [-own.sum() for own in scored], rtol=1e-4)


def again_sampled_in_pieces(policy: SmallTools) -> None:
    """A text may be written in other pieces than it is read in: what is learned is the text."""
    assert policy.chat.begin == (policy.chat.marks["<s>"],)
    for made in policy.draw([("a red circle",), ("two", picture(1))], MANY[:2], [0, 1]):
        text = str(made[0].segment)
        parse(text, ("draw",), ())
        ids = policy.chat.answer(text)[:-1]
        assert policy.layout.rules.vocabulary.spelt(ids).decode() == f" {text}"
        (scored,) = policy.call_log_probs([("a",)], [made])
        assert np.isfinite(scored).all() and (scored <= 0).all()


def test_what_is_drawn_is_learned_turn_by_turn(policy: SmallTools) -> None:
    """The likelihood of a drawing of two turns is that of its first, and of its second after it."""
    two = (*output(1)[:2], *output(0)[:2])
    (whole,) = policy.call_log_probs([("a",)], [two])
    (first,) = policy.call_log_probs([("a",)], [two[:2]])
    (second,) = policy.call_log_probs([("a",)], [(replace(two[0], learned=False), *two[1:])])
    np.testing.assert_allclose(whole, [*first, *second], atol=1e-5)
    (stopped,) = policy.call_log_probs([("a",)], [(*two[:2], Part(""))])
    assert len(stopped) == len(first) + 1 and stopped[-1] < 0
    other = (two[0], Part(picture(9), learned=False), *two[2:])
    (seen,) = policy.call_log_probs([("a",)], [other])
    np.testing.assert_allclose(seen[: len(first)], first, atol=1e-5)
    assert np.abs(seen - whole)[len(first) :].max() > 1e-4


def test_a_call_from_outside_its_limit_can_be_learned(folder: Path) -> None:
    policy = SmallTools.from_pretrained(folder, call_tokens=32)
    long = learned(Call("draw", "x" * 100, 5).text())
    (scored,) = policy.call_log_probs([("a",)], [long])
    assert np.isfinite(scored).all()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (learned(picture(0)), "a target with a picture where a call"),
        ((Part(picture(0), learned=False), Part("x")), "a target with a picture where a call"),
        (learned("a red circle"), "where a call of a tool must be"),
        (learned('{"tool": "rm", "prompt": "x"}'), "where a call of a tool must be"),
        (learned('{"tool":"draw","prompt":"x"}'), "where a call of a tool must be"),
        (learned(""), "where a call of a tool must be"),
        ((*output(0)[:1], Part(picture(0))), "what came of a call is learned"),
        ((), "nothing is learned"), ((replace(output(0)[0], learned=False),), "nothing is learned"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pattern", ["generation", "reflection"])
def test_what_cannot_be_learned_is_refused_by_name(
    policy: SmallTools, target: Output, said: str, pattern: Any
) -> None:
    example = Example(("a",), target, pattern)
    for act in (policy.loss, policy.target_counts, policy.lengths):
        with pytest.raises(Unsupported, match="family tools learns the texts") as error:
            act([example])
        assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "target", [learned("a", "b"), learned(picture(0)), (), (Part("a", learned=False),)]
)
def test_answers_are_one_text(policy: SmallTools, target: Output) -> None:
    with pytest.raises(Unsupported, match="in the pattern caption: family tools"):
        policy.loss([Example(("a",), target, "caption")])


def test_a_plan_comes_before_the_first_call_and_is_learned(folder: Path) -> None:
    policy = SmallTools.from_pretrained(folder, plan=6, turns=1)
    outputs = policy.draw([("a red circle",)] * 3, MANY[:3], range(3))
    for made in outputs:
        assert [part.learned for part in made] == [True, True, False]
        parse(str(made[1].segment), ("draw",), ())
    assert len({made[0] for made in outputs}) == 3
    planned = (Part("cats left"), *output(0))
    example = Example(("a",), planned, "generation")
    counts = [
        len(policy.chat.answer(text)) for text in ("cats left", str(output(0)[0].segment), "")
    ]
    assert policy.target_counts([example])["text"] == sum(counts)
    (scored,) = policy.call_log_probs([("a",)], [planned])
    plain = policy.log_probs([(policy.layout.instruction, "?")], ["cats left"])[0]
    assert len(scored) == sum(counts) and len(plain) == counts[0]
    assert policy.target_counts([replace(example, target=planned[:1])])["text"] == counts[0]


def test_a_plan_that_reads_like_a_call_is_a_plan(folder: Path) -> None:
    policy = SmallTools.from_pretrained(folder, plan=64, turns=1)
    call = output(0)
    planned = Example(("a",), (Part(call[0].segment), *call), "generation")
    alone = Example(("a",), call, "generation")
    both, one = (policy.target_counts([each])["text"] for each in (planned, alone))
    assert both == one + len(policy.chat.answer(str(call[0].segment)))
    assert policy.loss([planned])["text"].totals.isfinite().all()


def test_a_picture_that_the_model_cannot_see_fails_its_call_alone(folder: Path) -> None:
    policy = SmallTools.from_pretrained(folder, tools=(f"draw={HERE}:thin",), turns=2)
    made = policy.draw([("thin",), ("red",)], ONE * 2, [1, 2])
    results = [part.segment for parts in made for part in parts[1::2]]
    assert len(results) >= 2
    assert all(str(each).startswith("There is no picture: ") for each in results)


def test_a_conversation_is_read_once_for_all_its_rollouts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, read = SmallTools.from_pretrained(folder, turns=1), []

    class Noting(Writer):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            read.append(len(self.read))

    monkeypatch.setattr("policies.vision_language.policy.Writer", Noting)
    together = policy.draw([("a red circle",)] * 8 + [("a cat",)], [*MANY, *ONE], range(9))
    assert read == [2]
    alone = [policy.draw([("a red circle",)], ONE, [seed])[0] for seed in range(3)]
    assert [each[0] for each in together[:3]] == [each[0] for each in alone]


def test_conversations_are_read_a_few_at_a_time_and_go_on_the_same(
    policy: SmallTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = [
        ("a cat",),
        (picture(1), "what is it ?"),
        ("a much longer question",),
        ("a", picture(2)),
    ]
    how = [TextSampling(1.0, 12)] * 6
    asked_ = [contexts[i % 4] for i in range(6)]
    together = policy.write(asked_, how, range(6))
    monkeypatch.setattr("policies.vision_language.writing.READ_AT_ONCE", 1)
    assert policy.write(asked_, how, range(6)) == together


def test_a_call_is_kept_as_its_tokenizer_reads_it(tmp_path: Path) -> None:
    """Qwen's composes letters: a call that was sampled with two has one when it is learned."""
    write_model(tmp_path, 0)
    file = tmp_path / "tokenizer.json"
    made = Tokenizer.from_file(str(file))
    made.normalizer = normalizers.NFC()
    file.write_text(made.to_str())
    policy = SmallTools.from_pretrained(tmp_path)
    two, one = Call("draw", "e\u0301").text(), Call("draw", "\u00e9").text()
    assert policy.layout.respelt(two) == policy.layout.respelt(one) == one
    assert len(policy.call_log_probs([("a",)], [learned(one)])[0]) == len(one.encode()) + 1
    with pytest.raises(Unsupported, match="reads otherwise"):
        policy.call_log_probs([("a",)], [learned(two)])
