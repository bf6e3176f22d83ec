"""What BAGEL learns: in one row or padded the same, as long as it says, and plans as sampled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bagel import planning
from policies.bagel import policy as bagel
from policies.bagel.policy import BagelPolicy
from policies.bagel.samples import Absent, Features, Latents, Noise, Text
from policies.bagel.sequence import packed
from policies.config import BagelPolicyConfig, JanusPolicyConfig, TinyPolicyConfig
from policies.flowing import drawing
from policies.flowing.samples import length
from policies.interface import (
    Condition,
    Example,
    Part,
    Picture,
    PictureSampling,
    TextSampling,
    learned,
)
from policies.registry import load_policy
from tests.policies.bagel.small import picture, write_folder

PROMPT, PLAN = "a red circle", "big and round"
PLANNED = Example((PROMPT,), learned(PLAN, picture(0)), "generation")
BARE = replace(picture(3), latents=None)
EXAMPLES = [
    PLANNED,
    replace(PLANNED, dropped=frozenset({"text"})),
    Example((PROMPT, picture(1), "mend it"), learned(picture(2)), "reflection"),
    Example((PROMPT, BARE), learned(BARE), "reflection", dropped=frozenset({"latents"})),
    Example((picture(1), "what is it"), learned("a cat"), "caption"),
    Example((PROMPT,), (Part(picture(4), False), Part("no"), Part(picture(5))), "generation"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bagel")
    write_folder(made, 0)
    return made


@pytest.fixture(scope="module")
def policy(folder: Path) -> BagelPolicy:
    return BagelPolicy.from_pretrained(folder)


def kinds(splits: list) -> list[type]:
    return [type(split) for split in splits]


@pytest.mark.parametrize("batch", [EXAMPLES[:2], EXAMPLES[2:4], EXAMPLES[4:5], EXAMPLES[5:]])
def test_one_row_and_padded_rows_have_the_same_loss_and_gradients(
    policy: BagelPolicy, monkeypatch: pytest.MonkeyPatch, batch: list[Example]
) -> None:
    found = []
    for arrange in (bagel.padded, packed):
        monkeypatch.setattr(bagel, "padded", arrange)
        policy.module.zero_grad(set_to_none=True)
        terms = policy.loss(batch)
        torch.stack([term.total / term.count for term in terms.values()]).sum().backward()
        found.append((terms, [w.grad.clone() for w in policy.module.parameters()]))
    (rows, first), (row, second) = found
    assert rows.keys() == row.keys()
    for kind, term in rows.items():
        assert term.count == row[kind].count
        assert term.total.item() == pytest.approx(row[kind].total.item(), rel=1e-5)
    for ours, theirs in zip(first, second, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_lengths_are_those_of_what_is_learned(policy: BagelPolicy) -> None:
    for example in EXAMPLES:
        lessons = policy.layout.lessons(example)
        assert policy.lengths([example]) == [sum(length(splits) for splits, _ in lessons)]


def test_a_plan_and_its_picture_are_learned_after_the_instruction_to_plan(
    policy: BagelPolicy,
) -> None:
    ((splits, velocities),) = policy.layout.lessons(PLANNED)
    assert kinds(splits) == [Text, Text, Text, Noise] and len(velocities) == 1
    words = [policy._loaded.tokenizer.decode(list(split.ids)) for split in splits[:3]]
    assert words == [planning.INSTRUCTION, PROMPT, PLAN]
    assert [split.learned for split in splits[:3]] == [False, False, True]
    plain = replace(PLANNED, target=learned(picture(0)))
    assert kinds(policy.layout.lessons(plain)[0][0]) == [Text, Noise]


def test_without_texts_the_picture_sees_no_plan_and_the_plan_is_learned_all_the_same(
    policy: BagelPolicy,
) -> None:
    gone: frozenset[Condition] = frozenset({"text"})
    (told, none), (drawn, one) = policy.layout.lessons(replace(PLANNED, dropped=gone))
    assert kinds(told) == [Text, Text, Text] and kinds(drawn) == [Noise]
    assert (len(none), len(one)) == (0, 1)
    given = replace(PLANNED, target=(Part(PLAN, False), Part(picture(0))), dropped=gone)
    assert [kinds(splits) for splits, _ in policy.layout.lessons(given)] == [[Noise]]
    seen = replace(PLANNED, context=(PROMPT, picture(1)), dropped=gone | {"features"})
    (told, _), (drawn, _) = policy.layout.lessons(seen)
    assert kinds(told) == [Text, Text, Latents, Features, Text]
    assert kinds(drawn) == [Latents, Absent, Noise]
    whole = policy.target_counts([replace(PLANNED, dropped=gone)])
    assert whole == policy.target_counts([PLANNED])


def test_with_think_a_plan_comes_before_each_drawing(folder: Path, policy: BagelPolicy) -> None:
    thinking = BagelPolicy.from_pretrained(folder, think=8)
    contexts = [(PROMPT,), (PROMPT, picture(1)), (PROMPT,)]
    how = [PictureSampling(guidance=2.0, steps=3)] * 3
    outputs = thinking.draw(contexts, how, [1, 2, 3])
    for output in outputs:
        plan, drawn = (part.segment for part in output)
        assert isinstance(plan, str) and isinstance(drawn, Picture)
        assert all(part.learned for part in output)
    again = thinking.draw(contexts[:1], how[:1], [1])
    assert again[0][0] == outputs[0][0] and outputs[0][0] != outputs[2][0]
    plan = outputs[0][0].segment
    after = (planning.INSTRUCTION, PROMPT, plan)
    (plain,) = policy.draw([after], how[:1], [1])
    assert torch.allclose(plain[0].segment.latents, again[0][1].segment.latents, atol=1e-5)
    unguided = [replace(how[0], guidance=0.0)]
    untold, empty = (p.draw([c], unguided, [1])[0][-1].segment.latents
                     for p, c in ((thinking, (PROMPT,)), (policy, ())))  # fmt: skip
    assert torch.allclose(untold, empty, atol=1e-5)
    assert thinking.draw([], [], []) == [] and np.isfinite(untold.numpy()).all()


def test_an_output_with_a_plan_is_learned_as_it_was_sampled(policy: BagelPolicy) -> None:
    """The sequence that teaches is that which the sampler read."""
    ((splits, _),) = policy.layout.lessons(PLANNED)
    read = policy.layout.context((*planning.instructed((PROMPT,)), PLAN), drawing=True)
    assert [list(split.ids) for split in splits[:-1]] == [list(split.ids) for split in read]


def test_the_training_shift_moves_the_times_that_are_learned(folder: Path) -> None:
    plain, shifted = (
        BagelPolicy.from_pretrained(folder, training_shift=shift) for shift in (None, 4.0)
    )
    times = []
    for each in (plain, shifted):
        ((splits, _),) = each.layout.lessons(EXAMPLES[2])
        times.append(splits[-1].time)
    early, late = times
    assert late == pytest.approx(4 * early / (1 + 3 * early))


def test_many_contexts_are_read_a_few_at_a_time(
    policy: BagelPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = [(f"{i} {PROMPT}" * (1 + i % 3), picture(i)) for i in range(6)]
    how = [PictureSampling(guidance=2.0, steps=2)] * len(contexts)
    texts = [TextSampling(max_tokens=3)] * len(contexts)
    drawn = policy.draw(contexts, how, range(6))
    written = policy.sample_words(contexts, texts, range(6), keep_logits=True)
    monkeypatch.setattr(drawing, "READ_AT_ONCE", 150)
    again = policy.draw(contexts, how, range(6))
    parts = policy.sample_words(contexts, texts, range(6), keep_logits=True)
    for ours, theirs in zip(drawn, again, strict=True):
        one, other = (output[0].segment.latents for output in (ours, theirs))
        assert torch.allclose(one, other, atol=1e-4)
    for one, other in zip(written.logits, parts.logits, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_recipe_s_options_reach_the_policy(folder: Path) -> None:
    own = BagelPolicyConfig(path=str(folder), training_shift=2.0, think=5, adapters="generation")
    assert own.options() == {"training_shift": 2.0, "think": 5, "adapters": "generation"}
    made = load_policy(own)
    assert isinstance(made, BagelPolicy) and made.think == 5
    assert made.layout.training_shift == 2.0
    assert TinyPolicyConfig().options() == JanusPolicyConfig().options() == {}
