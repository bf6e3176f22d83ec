"""Texts and drawings follow from the context, the sampling and the seed of their own row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.config import ConfigError
from policies.interface import (
    Example,
    PictureSampling,
    Policy,
    TextSampling,
    Unsupported,
    last_picture,
    learned,
)
from tests.policies.conformance.family import (
    Family,
    contexts,
    drawings,
    same,
    sharpened,
    texts_of,
    total,
)


def test_what_is_sampled_has_its_shapes_and_types(family: Family, policy: Policy) -> None:
    count = len(contexts(family))
    texts = policy.write(contexts(family), [TextSampling(max_tokens=6)] * count, range(count))
    assert [type(text) for text in texts] == [str] * count
    outputs = policy.draw(contexts(family), [PictureSampling()] * count, range(count))
    assert len(outputs) == count
    for output in outputs:
        drawn = last_picture(output)
        assert isinstance(output, tuple) and drawn is not None
        assert drawn.pixels.dtype == np.uint8 and drawn.pixels.ndim == 3
        assert drawn.pixels.shape[2] == 3
        assert drawn.codes is None or (drawn.codes.dtype == np.int32 and drawn.codes.ndim == 1)
        assert drawn.latents is None or drawn.latents.device.type == "cpu"


def test_no_rows_are_no_work(policy: Policy) -> None:
    assert policy.draw([], [], []) == policy.write([], [], []) == policy.log_probs([], []) == []
    assert policy.loss([]) == policy.target_counts([]) == {} and policy.lengths([]) == []


def test_sampling_follows_from_the_seed(family: Family, policy: Policy) -> None:
    question, how = [contexts(family)[0]] * 2, [PictureSampling()] * 2
    torch.manual_seed(1)
    one, other = policy.draw(question, how, [5, 6])
    torch.manual_seed(2)
    again, _ = policy.draw(question, how, [5, 6])
    assert same(one, again) and not same(one, other)
    warm = [TextSampling(max_tokens=8)] * 2
    assert policy.write(question, warm, [5, 6]) == policy.write(question, warm, [5, 6])


def test_a_row_does_not_depend_on_the_others(family: Family, policy: Policy) -> None:
    asked = contexts(family)
    guided = "guidance" in policy.picture_options
    how = [PictureSampling(guidance=g if guided else 1.0) for g in (1.0, 2.0, 1.0, 3.0)]
    text = [TextSampling(max_tokens=n) for n in (8, 3, 5, 8)]
    drawn, written = policy.draw(asked, how, range(4)), policy.write(asked, text, range(4))
    for i in (3, 0, 2, 1):
        (alone,) = policy.draw([asked[i]], [how[i]], [i])
        assert same(alone, drawn[i], family.tolerance)
        assert policy.write([asked[i]], [text[i]], [i]) == [written[i]]


def test_a_text_ends_at_its_last_token(family: Family, policy: Policy) -> None:
    asked = contexts(family)
    none, short, long = (
        policy.write(asked, [TextSampling(temperature=0.0, max_tokens=most)] * 4, range(4))
        for most in (0, 1, 12)
    )
    assert none == [""] * 4 and short != long
    for some, more in zip(short, long, strict=True):
        assert more.startswith(some.rstrip("\ufffd"))  # of half a character


def test_temperature_0_is_greedy_and_1_is_not(family: Family, policy: Policy) -> None:
    asked = [contexts(family)[0]] * 6
    greedy, warm = (
        policy.write(asked, [TextSampling(temperature=t, max_tokens=8)] * 6, range(6))
        for t in (0.0, 1.0)
    )
    assert len({*greedy}) == 1 and len({*warm}) > 1
    if "temperature" in policy.picture_options:
        how = [PictureSampling(temperature=0.0)] * 2
        one, other = policy.draw(asked[:2], how, [5, 6])
        if (
            family.output
        ):  # what is written is greedy; the chance of who draws it is that of the row
            assert texts_of(one)[:1] == texts_of(other)[:1] != []
        else:
            assert same(one, other, family.tolerance)


def test_without_guidance_by_text_the_text_does_not_matter(family: Family, policy: Policy) -> None:
    if "guidance" not in policy.picture_options:
        pytest.skip(f"family {policy.family} has no guidance")
    asked = [(prompt,) for prompt in family.prompts[:2]] * 2
    how = [PictureSampling(guidance=g) for g in (0.0, 0.0, 1.0, 1.0)]
    untold, also_untold, one, other = policy.draw(asked, how, [3] * 4)
    assert same(untold, also_untold, family.tolerance)
    assert not same(one, other, family.tolerance)


def test_pictures_of_the_context_are_seen(family: Family, policy: Policy) -> None:
    one, _, _, four = family.prompts
    seen = [family.picture(0), family.picture(1)]
    scored = policy.log_probs([(each, four) for each in seen], [one, one])
    assert np.abs(scored[0] - scored[1]).max() > 1e-4
    for target, pattern in ((learned(one), "caption"), (family.taught(2), "reflection")):
        taught = [Example((one, each, four), target, pattern) for each in seen]
        assert abs(total(policy, taught[:1]) - total(policy, taught[1:])) > 1e-4, pattern
    asked = [(one, each, four) for each in seen]
    first, second = policy.draw(asked, [PictureSampling()] * 2, [4, 4])
    assert not same(first, second, family.tolerance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_replicas_sample_in_what_they_were_moved_to(
    family: Family, folder: Path, dtype: str
) -> None:
    replica, asked = sharpened(family, folder), contexts(family)
    greedy = [TextSampling(temperature=0.0, max_tokens=8)] * 4
    drawn, written = drawings(family, replica), replica.write(asked, greedy, range(4))
    if dtype == "float32":
        replica.sample_on("cpu", dtype)
    else:
        try:
            replica.sample_on("cpu", dtype)
        except ConfigError:
            return
    again, texts = drawings(family, replica), replica.write(asked, greedy, range(4))
    assert not any(weight.requires_grad for weight in replica.module.parameters())
    for ours, theirs in zip(again, drawn, strict=True):
        one, other = last_picture(ours), last_picture(theirs)
        assert one is not None and other is not None and one.pixels.dtype == np.uint8
        assert dtype == "bfloat16" or same(ours, theirs, family.tolerance)
        assert one.latents is None or one.latents.isfinite().all()
    assert dtype == "bfloat16" or texts == written


def test_loaded_in_bfloat16_it_samples_as_if_it_was_moved_there(
    family: Family, folder: Path
) -> None:
    moved = family.policy.from_pretrained(folder)
    try:
        moved.sample_on("cpu", "bfloat16")
    except ConfigError as error:
        with pytest.raises(ConfigError, match=str(error)[:20]):
            family.policy.from_pretrained(folder, "bfloat16")
        return
    loaded = family.policy.from_pretrained(folder, "bfloat16")
    weights = list(loaded.module.parameters())
    assert all(w.dtype == torch.bfloat16 and not w.requires_grad for w in weights)
    for ours, theirs in zip(drawings(family, loaded), drawings(family, moved), strict=True):
        assert same(ours, theirs)


def test_sampled_log_probabilities_are_scored_again(family: Family, policy: Policy) -> None:
    asked = contexts(family)
    if family.sampled_pictures is None:
        with pytest.raises(Unsupported, match=f"family {policy.family}"):
            policy.log_probs(asked, [family.picture(0)] * 4)
    for sampled in filter(None, (family.sampled_texts, family.sampled_pictures)):
        segments, chosen = zip(*sampled(policy, asked * 2, range(8)), strict=True)
        scored = policy.log_probs(asked * 2, segments)
        for segment, ours, theirs in zip(segments, scored, chosen, strict=True):
            first = slice(len(theirs) if isinstance(segment, str) else None)
            assert ours.dtype == np.float32 and ours[first].shape == theirs.shape
            assert len(theirs) > 0
            np.testing.assert_allclose(ours[first], theirs, atol=1e-3)
    one, two = family.prompts[:2]
    scored = policy.log_probs([(), (two,)], [one, two])
    assert all(s.dtype == np.float32 and s.ndim == 1 and s.max() <= 0 for s in scored)
    examples = [Example((), learned(one), "caption"), Example((two,), learned(two), "caption")]
    assert [len(s) for s in scored] == [policy.target_counts([e])["text"] for e in examples]
