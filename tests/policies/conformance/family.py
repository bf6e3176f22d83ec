"""How to test one family, and what all its tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.interface import (
    Context,
    Example,
    ExampleKey,
    Output,
    Pattern,
    Picture,
    PictureSampling,
    Policy,
    Segment,
    Unsupported,
    learned,
)

Sampled = Callable[[Any, Sequence[Context], Sequence[int]], list[tuple[Segment, np.ndarray]]]
UNUSUAL = PictureSampling(0.5, 2.0, 2.0, (0.1, 0.9), "channel", 7, 2.0)
"""A value of each option that is not its default, but for `Family.size`."""


@dataclass(frozen=True)
class Family:
    """How to test one family. Functions must be importable: other processes call them.

    `write_folder` makes a checkpoint of a very small model with random weights of that seed.
    `prompts` are four short texts that it reads, the first two of as many tokens; `unreadable` are
    texts that it refuses, `overlong` one that no prompt has room for. `picture` makes a drawing of
    a seed, with the codes or latents that the family learns from. `sampled_pictures` gives what the
    policy's own sampler chose at temperature 1 with the log-probability of each token (None: the
    family has no likelihood of pictures), `sampled_texts` any texts with the log-probabilities that
    `write` samples their first tokens from (None: it does not tell them). `sharp` multiplies
    matrices, since random weights say next to nothing. `noisy`: its loss draws noise, timesteps or
    masks. `size` is one of drawings that is not the family's own, where "size" is an option. `output` is
    what a drawing of a seed teaches, where that is no learned picture. The gradients of two workers may
    differ from those of one process by `rounding`.
    """

    policy: type[Policy]
    write_folder: Callable[[Path, int], object]
    prompts: tuple[str, str, str, str]
    unreadable: tuple[str, ...]
    overlong: str
    picture: Callable[[int], Picture]
    sampled_texts: Sampled | None
    sampled_pictures: Sampled | None
    bad_pictures: tuple[Picture, ...] = ()
    sharp: float = 3.0
    noisy: bool = False
    rate: float = 3e-3
    steps: int = 150
    by_heart: float = 0.02
    tolerance: float = 1e-4
    size: tuple[int, int] = (16, 16)
    output: Callable[[int], Output] | None = None
    rounding: float = 1e-6

    def taught(self, seed: int) -> Output:
        """What a drawing of that seed teaches."""
        return self.output(seed) if self.output else learned(self.picture(seed))


@pytest.fixture(scope="module")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(family.policy.family)
    family.write_folder(made, 0)
    return made


@pytest.fixture(scope="module")
def policy(family: Family, folder: Path) -> Policy:
    return sharpened(family, folder)


def sharpened(family: Family, folder: Path) -> Policy:
    made = family.policy.from_pretrained(folder)
    with torch.no_grad():
        for weight in made.module.parameters():
            if weight.ndim == 2:
                weight.mul_(family.sharp)
    return made


def examples(family: Family) -> dict[Pattern, list[Example]]:
    """Two of each pattern."""
    (one, two, three, four), picture = family.prompts, family.picture
    made: dict[Pattern, list[tuple[Context, Output]]] = {
        "generation": [((one,), family.taught(0)), ((two,), family.taught(1))],
        "caption": [((picture(0), four), learned(one)), ((picture(1), four), learned(three))],
        "judgement": [
            ((four, one, picture(2)), learned(three)),
            ((four, two, picture(3)), learned(two)),
        ],
        "reflection": [
            ((one, picture(2), four), family.taught(0)),
            ((two, picture(3), three), family.taught(1)),
        ],
    }
    return {
        pattern: [Example(*each, pattern, ExampleKey(1, 2, i)) for i, each in enumerate(of)]
        for pattern, of in made.items()
    }


def contexts(family: Family) -> list[Context]:
    one, two, three, four = family.prompts
    return [(one,), (two, family.picture(7)), (three,), (four,)]


def mixed(family: Family) -> list[Example]:
    """A step in which one worker learns a text and the other a picture."""
    one, two, plan = family.prompts[:3]
    targets = (((one,), learned(plan)), ((two,), learned(family.picture(0))))
    return [Example(*each, "generation", ExampleKey(1, 2, i)) for i, each in enumerate(targets)]


def supported(policy: Policy, batch: Sequence[Example]) -> bool:
    """A family may have no layout for outputs of many parts, or of other kinds in one batch."""
    try:
        policy.target_counts(batch)
    except Unsupported:
        with pytest.raises(Unsupported, match=f"family {policy.family}") as error:
            policy.loss(batch)
        assert one_sentence(error)
        return False
    return True


def means(policy: Policy, batch: Sequence[Example]) -> torch.Tensor:
    """The sum of the means of all kinds."""
    return torch.stack([term.total / term.count for term in policy.loss(batch).values()]).sum()


def total(policy: Policy, batch: Sequence[Example]) -> float:
    with torch.no_grad():
        return sum(term.total.item() for term in policy.loss(batch).values())


def same(one: Output, other: Output, tolerance: float = 0.0) -> bool:
    """Bit by bit, or latents to within `tolerance` and their pixels nearly."""
    if [type(p.segment) for p in one] != [type(p.segment) for p in other]:
        return False
    for ours, theirs in zip(one, other, strict=True):
        a, b = ours.segment, theirs.segment
        if isinstance(a, str) or isinstance(b, str):
            if a != b:
                return False
            continue
        if a.pixels.shape != b.pixels.shape:
            return False
        if a.codes is not None and not np.array_equal(a.codes, b.codes):
            return False
        if a.latents is not None and not torch.allclose(a.latents, b.latents, 0, tolerance):
            return False
        far = np.abs(a.pixels.astype(int) - b.pixels).max()
        if far > (2 if tolerance else 0):
            return False
    return True


def texts_of(output: Output) -> list[str]:
    """What is written in it."""
    return [part.segment for part in output if isinstance(part.segment, str)]


def drawings(family: Family, policy: Policy) -> list[Output]:
    return policy.draw(contexts(family), [PictureSampling()] * 4, range(4))


def one_sentence(error: pytest.ExceptionInfo[Exception]) -> bool:
    said = str(error.value)
    said.encode()  # half a surrogate pair could not be printed
    return "\n" not in said and 20 < len(said) < 1000
