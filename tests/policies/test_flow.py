"""The flow with velocities that are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from policies.flow import RENORMS, Guidance, noisy, shifted, solve, target, times


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def guidance(rows: int, text: float = 1.0, renorm: str = "none") -> Guidance:
    ones = torch.ones(rows)
    return Guidance(text * ones, ones, 0 * ones, ones, [renorm] * rows)


def test_times_go_from_noise_to_the_drawing_each_row_with_its_shift() -> None:
    found = times(4, torch.tensor([1.0, 3.0]))
    assert found[:, 0].tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert found[:, 1].tolist() == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
    assert shifted(torch.tensor(0.5), 3.0).item() == 0.75


def test_a_straight_flow_arrives_at_what_it_came_from() -> None:
    clean, noise = normal(2, 3, 5, 4)

    def velocities(x: Tensor, t: Tensor, row: Tensor, branch: Tensor) -> Tensor:
        assert torch.allclose(x, noisy(clean, noise, t[:, None, None]), atol=1e-5)
        return target(clean, noise)[row]

    found = solve(velocities, noise, times(6, torch.tensor([1.0, 2.0, 3.0])), guidance(3))
    assert torch.allclose(found, clean, atol=1e-5)


def test_guided_rows_are_as_if_alone_and_only_those_inside_their_interval_are_computed() -> None:
    rows, noise = 6, normal(6, 5, 4)
    weights = normal(3, 4, 4) / 4
    how = Guidance(
        text=torch.tensor([1.0, 4.0, 4.0, 4.0, 4.0, 0.0]),
        pictures=torch.tensor([2.0, 1.0, 2.0, 2.0, 1.5, 1.0]),
        low=torch.tensor([0.0, 0.4, 0.0, 0.4, 0.0, 0.0]),
        high=torch.ones(rows),
        renorm=["global", "none", "channel", "global", "text_channel", "none"],
    )
    asked = []

    def velocities(x: Tensor, t: Tensor, row: Tensor, branch: Tensor) -> Tensor:
        asked.append(len(row))
        return (x[row] @ weights[branch]) * (1 + t[row, None, None])

    at = times(4, torch.full((rows,), 1.0))
    together = solve(velocities, noise, at, how)
    assert asked == [6 + 5 + 3, 6 + 5 + 3, 6 + 5 + 3, 6 + 3 + 2]
    for i in range(rows):
        one = slice(i, i + 1)
        alone = Guidance(
            how.text[one], how.pictures[one], how.low[one], how.high[one], how.renorm[one]
        )
        found = solve(velocities, noise[one], at[:, one], alone)[0]
        assert torch.allclose(found, together[i], atol=1e-5)


@pytest.mark.parametrize("renorm", RENORMS)
def test_a_renormed_velocity_is_never_longer_than_the_unguided(renorm: str) -> None:
    v, text, pictures = normal(3, 2, 5, 4)
    t = torch.full((2,), 0.5)
    found = guidance(2, 5.0, renorm).guided(v, text, pictures, t)
    longer = found.norm(dim=-1) > v.norm(dim=-1) * (1 + 1e-5)
    over = found.norm(dim=(1, 2)) > v.norm(dim=(1, 2)) * (1 + 1e-5)
    assert bool(over.any()) == (renorm == "none")
    assert renorm in ("none", "global") or not longer.any()


def test_padding_with_zeros_changes_nothing() -> None:
    parts = normal(3, 1, 5, 4)
    t = torch.tensor([0.5])
    for renorm in RENORMS:
        short = guidance(1, 5.0, renorm).guided(*parts, t)
        padded = torch.cat([parts, torch.zeros(3, 1, 2, 4)], 2)
        long = guidance(1, 5.0, renorm).guided(*padded, t)
        assert torch.allclose(long[:, :5], short) and not long[:, 5:].any()
