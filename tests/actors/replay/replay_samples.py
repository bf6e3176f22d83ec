"""Slices for the tests of the replay buffer."""

from __future__ import annotations

import numpy as np

from actors.replay.buffer import ReplayBuffer
from actors.replay.records import JudgedGroup, Judgement, Rollout
from policies.interface import Picture, PictureSampling, learned

PATIENCE = 240.0  # seconds: a busy machine is slow, not wrong


def slice_of(index: int, side: int = 4) -> list[JudgedGroup]:
    """Two groups, the second rejected; a pure function of `index`; `side` makes it large."""
    pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
    rollout = Rollout(index, PictureSampling(), learned(Picture(pixels)), Judgement("fine", 9.0, 1))
    return [
        JudgedGroup(1, 2 * index + k, "counting", "single", f"prompt {index}", 5, 0, 0,
                    (rollout,), reason)
        for k, reason in enumerate(("", "best score 3 is below 7"))
    ]  # fmt: skip


def prompts(buffer: ReplayBuffer, round_: int = 1, start: int = 0, limit: int = 99) -> list:
    return [(i, [g.prompt for g in groups]) for i, groups in buffer.read(round_, start, limit)]


def expected(indices: range) -> list:
    return [(index, [f"prompt {index}"] * 2) for index in indices]
