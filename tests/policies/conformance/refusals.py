"""What a family cannot do or read it refuses in one sentence that names it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from policies.config import ConfigError
from policies.interface import (
    Example,
    Picture,
    PictureSampling,
    Policy,
    PromptError,
    TextSampling,
    learned,
)
from tests.policies.conformance.family import (
    UNUSUAL,
    Family,
    contexts,
    one_sentence,
    same,
)


@pytest.mark.parametrize("option", [field.name for field in fields(PictureSampling)])
def test_options_change_the_drawing_or_are_refused_by_name(
    family: Family, policy: Policy, option: str
) -> None:
    unusual = replace(UNUSUAL, size=family.size)
    how = replace(PictureSampling(), **{option: getattr(unusual, option)})
    if option in policy.picture_options:
        usual = {"guidance": 3.0, "image_guidance": 1.5}  # which others need to matter
        known = {name: value for name, value in usual.items() if name in policy.picture_options}
        plain = replace(PictureSampling(), **known)
        changes = replace(plain, **{option: getattr(unusual, option)})
        asked = [(family.prompts[0], family.picture(7))] * 2
        one, other = policy.draw(asked, [plain, changes], [0, 0])
        assert not same(one, other, family.tolerance)
    else:
        with pytest.raises(ConfigError, match=f"{option} is .*family {policy.family}") as error:
            policy.draw([contexts(family)[0]], [how], [0])
        assert one_sentence(error)


def test_texts_that_cannot_be_read_are_refused(family: Family, policy: Policy) -> None:
    for text in (family.overlong, *family.unreadable):
        for act in (
            lambda text=text: policy.draw([(text,)], [PictureSampling()], [0]),
            lambda text=text: policy.write([(text,)], [TextSampling()], [0]),
            lambda text=text: policy.loss([Example((text,), learned("a"), "caption")]),
            lambda text=text: policy.log_probs([(text,)], [family.prompts[0]]),
        ):
            with pytest.raises(PromptError) as error:
                act()
            assert one_sentence(error)


NO_PIXELS = {
    "grey": np.zeros((8, 8), np.uint8),
    "alpha": np.zeros((8, 8, 4), np.uint8),
    "float": np.zeros((8, 8, 3), np.float32),
    "empty": np.zeros((0, 8, 3), np.uint8),
}


@pytest.mark.parametrize("kind", NO_PIXELS)
def test_arrays_that_are_no_picture_are_refused(family: Family, policy: Policy, kind: str) -> None:
    with pytest.raises(ValueError, match=r"Picture\.pixels is ") as error:
        seen = Picture(NO_PIXELS[kind])
        policy.write([(seen, family.prompts[0])], [TextSampling()], [0])
    assert one_sentence(error)


def test_codes_and_latents_of_others_are_refused(family: Family, policy: Policy) -> None:
    right = family.picture(0)
    wrong = list(family.bad_pictures)
    if right.codes is not None:
        changed = (
            right.codes[:-1], right.codes + 10**6, -1 - right.codes,
            right.codes.astype(np.float32), right.codes > 0, right.codes[None],
        )  # fmt: skip
        wrong += [Picture(right.pixels, codes) for codes in changed]
    if right.latents is not None:
        wrong += [Picture(right.pixels, None, right.latents[..., :-1])]
        wrong += [Picture(right.pixels, None, torch.full_like(right.latents, torch.nan))]
    for each in wrong:
        with pytest.raises(ValueError, match=r"Picture\.(codes|latents)") as error:
            policy.loss([Example((family.prompts[0],), learned(each), "generation")])
        assert one_sentence(error)
