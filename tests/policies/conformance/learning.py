"""A loss is a function of the weights and the example, and what is learned comes out again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.checks import require_conditions
from policies.config import ConfigError
from policies.interface import (
    CONDITIONS,
    PATTERNS,
    Example,
    Part,
    Pattern,
    PictureSampling,
    Policy,
    TextSampling,
    learned,
)
from tests.policies.conformance.family import (
    Family,
    examples,
    means,
    mixed,
    supported,
    texts_of,
    total,
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_counts_of_the_loss_are_known_without_it(
    family: Family, policy: Policy, pattern: Pattern
) -> None:
    batch = examples(family)[pattern]
    terms = policy.loss(batch)
    assert {kind: term.count for kind, term in terms.items()} == policy.target_counts(batch)
    assert all(term.count > 0 and len(term.totals) == len(batch) for term in terms.values())
    assert (set(terms) == {"text"}) == (not any(example.draws for example in batch))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_lengths_are_those_of_each_example_alone(
    family: Family, policy: Policy, pattern: Pattern
) -> None:
    batch = examples(family)[pattern]
    one, two = lengths = policy.lengths(batch)
    assert [policy.lengths([example]) for example in batch] == [[one], [two]]
    longer = replace(batch[0], context=(*batch[0].context, *family.prompts))
    seen = replace(batch[0], context=(*batch[0].context, family.picture(6)))
    assert policy.lengths([longer])[0] > one and policy.lengths([seen])[0] > one
    texts = policy.target_counts(batch).get("text", 0)
    assert sum(lengths) > texts


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_loss_is_a_function_of_the_example_alone(
    family: Family, policy: Policy, pattern: Pattern
) -> None:
    one, two = examples(family)[pattern]
    torch.manual_seed(1)
    alone, other = total(policy, [one]), total(policy, [two])
    torch.manual_seed(2)
    assert total(policy, [one]) == alone
    assert total(policy, [two, one]) == pytest.approx(alone + other, rel=1e-4)
    each = [term.totals.detach() for term in policy.loss([two, one]).values()]
    assert torch.stack(each).sum(0).tolist() == pytest.approx([other, alone], rel=1e-4)
    rekeyed = total(policy, [replace(one, key=replace(one.key, epoch=2))])
    noisy = family.noisy and one.draws
    assert (rekeyed != alone) if noisy else (rekeyed == alone)


def test_pictures_are_learned_as_they_were_sampled(family: Family, policy: Policy) -> None:
    drawn, other = family.picture(0), family.picture(1)
    if drawn.codes is None and drawn.latents is None:
        pytest.skip(f"family {policy.family} learns from pixels")
    recoloured, redrawn = (
        replace(drawn, pixels=255 - drawn.pixels),
        replace(other, pixels=drawn.pixels),
    )
    one, two, three = (
        total(policy, [Example((family.prompts[0],), learned(each), "generation")])
        for each in (drawn, recoloured, redrawn)
    )
    assert one == two and abs(one - three) > 1e-4


def test_parts_that_are_not_learned_are_context_alone(family: Family, policy: Policy) -> None:
    plan, drawn = family.prompts[2], family.picture(0)
    whole = Example((family.prompts[0],), learned(plan, drawn), "generation")
    if not supported(policy, [whole]):
        pytest.skip(f"family {policy.family} learns one part")
    only_drawn, only_plan, no_plan = (
        replace(whole, target=target)
        for target in (
            (Part(plan, learned=False), Part(drawn)),
            (Part(plan), Part(drawn, learned=False)),
            learned(drawn),
        )
    )
    after = replace(whole, target=(Part(drawn, learned=False), Part(plan)))
    assert set(policy.target_counts([after])) == set(policy.target_counts([only_plan])) == {"text"}
    assert policy.target_counts([only_drawn]) == policy.target_counts([no_plan])
    assert len(policy.target_counts([whole])) == 2
    for example in (whole, only_drawn, only_plan, after):
        counts = {kind: term.count for kind, term in policy.loss([example]).items()}
        assert counts == policy.target_counts([example])
    parts = total(policy, [only_drawn]) + total(policy, [only_plan])
    assert total(policy, [whole]) == pytest.approx(parts, rel=1e-4)
    assert abs(total(policy, [only_drawn]) - total(policy, [no_plan])) > 1e-4


def test_any_kind_alone_gives_every_parameter_a_gradient(family: Family, folder: Path) -> None:
    pupil, batch = family.policy.from_pretrained(folder), mixed(family)
    if not supported(pupil, batch):
        pytest.skip(f"family {pupil.family} learns one kind in a step")
    assert len(pupil.loss(batch)) == 2
    for some in (batch, batch[:1], batch[1:]):
        pupil.module.zero_grad(set_to_none=True)
        means(pupil, some).backward()
        lacking = [n for n, w in pupil.module.named_parameters() if w.grad is None]
        assert not lacking, [example.target for example in some]


def test_dropped_conditions_change_the_loss_as_declared(family: Family, policy: Policy) -> None:
    one, two = family.prompts[:2]
    seen, target = family.picture(4), learned(family.picture(5))
    whole = Example((one, seen), target, "reflection")
    for condition in CONDITIONS:
        if condition in policy.conditions:
            dropped = replace(whole, dropped=frozenset({condition}))
            assert abs(total(policy, [dropped]) - total(policy, [whole])) > 1e-4, condition
            if condition == "text":  # two texts of as many tokens
                asked = replace(dropped, context=(two, seen))
                assert total(policy, [asked]) == pytest.approx(total(policy, [dropped]), rel=1e-5)
        else:
            with pytest.raises(ConfigError, match=f"condition_dropout.{condition} is 0.1: family"):
                require_conditions(policy.family, policy.conditions, {condition: 0.1})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_one_batch_is_learned_by_heart(family: Family, folder: Path, pattern: Pattern) -> None:
    pupil, batch = family.policy.from_pretrained(folder), examples(family)[pattern]
    optimizer = torch.optim.AdamW(pupil.module.parameters(), lr=family.rate, weight_decay=0.0)
    for _ in range(family.steps):
        mean = means(pupil, batch)
        if mean.item() < family.by_heart:
            break
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    assert mean.item() < family.by_heart
    for example in batch:
        if pattern in ("generation", "reflection") and not example.draws:
            require_same_texts(pupil, example)
            continue
        (part,) = example.target
        if isinstance(part.segment, str):
            greedy = [TextSampling(temperature=0.0)]
            assert pupil.write([example.context], greedy, [0]) == [part.segment]
        elif part.segment.codes is not None and not family.noisy:  # that is one noise's alone
            ((drawn,),) = pupil.draw([example.context], [PictureSampling(temperature=0.0)], [0])
            assert np.mean(drawn.segment.codes == part.segment.codes) > 0.9


def require_same_texts(pupil: Policy, example: Example) -> None:
    """A drawing that is learned as what is written for it comes again as such."""
    (drawn,) = pupil.draw([example.context], [PictureSampling(temperature=0.0)], [0])
    assert texts_of(drawn) == texts_of(example.target)
