"""One batch, many ways to compute it: packed, padded, cached, flexible, alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from policies.bagel.module import TABLES, BagelModule, with_tables
from policies.bagel.samples import Absent, Features, Format, Latents, Noise, Sample, Split, Text
from policies.bagel.sequence import packed, padded
from policies.flow import Guidance, solve, times
from policies.flowing.drawing import Contexts, Drawings
from policies.flowing.samples import Grid
from tests.policies.bagel.golden import close, config, form, module, tensors, training_samples

CLOSE = 1e-5


@pytest.fixture(scope="module")
def model() -> BagelModule:
    return module().requires_grad_(False)


def values(seed: int, grid: Grid, width: int) -> Tensor:
    return torch.randn(grid[0] * grid[1], width, generator=torch.Generator().manual_seed(seed))


def looked(seed: int, grid: Grid) -> Features:
    return Features(values(seed, grid, 588), grid)


def drawn(seed: int, grid: Grid, time: float = 0.5) -> Noise:
    return Noise(values(seed, grid, 16), grid, time)


def test_the_state_dict_has_the_released_names(model: BagelModule) -> None:
    own, released = model.state_dict(), tensors("bagel")
    assert list(map(len, (own, released))) == [111, 111] and own.keys() == released.keys()


def test_tables_of_places_are_computed_where_weights_lack_them() -> None:
    released = tensors("bagel")
    fewer = {name: tensor for name, tensor in released.items() if name not in TABLES}
    whole = with_tables(config(), fewer)
    assert whole.keys() == released.keys()
    for name in TABLES:
        close(whole[name], released[name], 1e-6)
    assert with_tables(config(), released).keys() == released.keys()


def test_a_packed_row_equals_padded_rows(model: BagelModule) -> None:
    samples, _ = training_samples("train")
    one, many = (model(make(samples, form()).on("cpu")) for make in (packed, padded))
    close(one.logits, many.logits, CLOSE)
    close(one.velocities, many.velocities, CLOSE)


@pytest.mark.parametrize("make", [packed, padded])
def test_samples_of_a_batch_are_as_if_alone(model: BagelModule, make: object) -> None:
    samples: list[Sample] = [
        [looked(0, (2, 3)), Text([1, 2], learned=True)],
        [Text([3, 4, 5]), drawn(1, (3, 2)), looked(2, (5, 1)), Text([6], learned=True)],
        [looked(3, (1, 1)), looked(4, (4, 4)), drawn(5, (1, 2), 0.1)],
    ]
    batch = make(samples, form()).on("cpu")  # type: ignore[operator]
    together = model(batch)
    alone = [model(packed([sample], form()).on("cpu")) for sample in samples]
    close(together.logits, torch.cat([each.logits for each in alone]), CLOSE)
    close(together.velocities, torch.cat([each.velocities for each in alone]), CLOSE)


def test_cached_reading_equals_the_training_pass(model: BagelModule) -> None:
    clean = Latents(values(7, (3, 2), 16), (3, 2))
    contexts: list[Sample] = [[clean, looked(0, (2, 3)), Text([1, 2, 3])], [], [Text([4])]]
    after: list[list[Split]] = [
        [Text([5, 6], learned=True), drawn(1, (2, 2))],
        [Text([7, 8, 9], learned=True), drawn(2, (3, 2), 0.8)],
        [Text([10], learned=True), drawn(3, (1, 2))],
    ]
    read = Contexts(model, form(), contexts)
    cache = read.cache.rows(torch.arange(3), 16)
    batch = padded(after, form(), read.ends).on("cpu", cache.seen)
    before = [block.clone() for block in cache.blocks]
    found = [model(batch, cache) for _ in range(2)]
    wanted = model(padded([[*a, *b] for a, b in zip(contexts, after)], form()).on("cpu"))
    for each in found:
        close(each.logits, wanted.logits, CLOSE)
        close(each.velocities, wanted.velocities, CLOSE)
    for one, other in zip(before, cache.blocks):
        assert torch.equal(one[..., : cache.used, :], other[..., : cache.used, :])


def test_a_row_of_a_cache_is_the_context_that_it_was_read_from(model: BagelModule) -> None:
    contexts: list[Sample] = [[Text([1, 2, 3, 4])], [Text([5])]]
    read = Contexts(model, form(), contexts)
    index = torch.tensor([1, 1])
    cache = read.cache.rows(index, 4)
    assert cache.used == 3 and bool(cache.seen.all())
    after: list[Sample] = [[drawn(0, (1, 2))], [drawn(1, (1, 2))]]
    batch = padded(after, form(), [read.ends[i] for i in index]).on("cpu", cache.seen)
    assert batch.mask is None  # for there is no padding
    wanted = model(padded([[Text([5]), *each] for each in after], form()).on("cpu"))
    close(model(batch, cache).velocities, wanted.velocities, CLOSE)


def test_drawings_of_any_size_and_guidance_are_as_if_alone(model: BagelModule) -> None:
    grids: list[Grid] = [(2, 3), (4, 2), (1, 1)]
    lost = looked(0, (2, 3))
    samples: list[Sample] = [[], [Text([1, 2, 3])], [lost], [lost, Text([4])], [Text([4])]]
    of = torch.tensor([[1, 3, 4], [0, 2, 0], [1, 4, 4]])
    noise = torch.zeros(3, 8, 16)
    for row, (rows, columns) in enumerate(grids):
        noise[row, : rows * columns] = values(row, (rows, columns), 16)
    numbers = torch.tensor([[4.0, 3.0, 1.0], [1.0, 2.0, 1.0], [0.4, 0.0, 0.0], [1.0, 1.0, 1.0]])
    renorm, at = ["global", "text_channel", "none"], times(4, torch.tensor([1.0, 3.0, 2.0]))
    read = Contexts(model, form(), samples)
    draw = Drawings(model, form(), read, of, grids)
    together = solve(draw, noise, at, Guidance(*numbers, renorm))
    for row, (rows, columns) in enumerate(grids):
        one = slice(row, row + 1)
        alone = Drawings(model, form(), read, of[:, one], grids[one])
        guidance = Guidance(*numbers[:, one], renorm[one])
        found = solve(alone, noise[one, : rows * columns], at[:, one], guidance)[0]
        close(together[row, : rows * columns], found, CLOSE)
        assert not together[row, rows * columns :].any()


def learns(samples: Sequence[Sample], form: Format) -> None:
    """Every parameter has a gradient, were it 0."""
    model = module()
    logits, velocities = model(packed(samples, form).on("cpu"))
    (logits.square().sum() + velocities.square().sum()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and bool(weight.grad.isfinite().all()), name


@pytest.mark.parametrize(
    "sample",
    [
        [Text([1, 2], learned=True)],
        [Text([1, 2]), drawn(0, (2, 2))],
        [looked(0, (2, 2)), Text([1])],
        [],
    ],
    ids=["text", "drawing", "nothing scored", "nothing"],
)
def test_every_parameter_gets_a_gradient(sample: list[Split]) -> None:
    learns([sample], form())


def test_positions_pass_over_absent_pictures_but_not_over_drawings() -> None:
    sample: Sample = [Absent(), Text([1]), drawn(0, (1, 1)), looked(0, (1, 1)), Text([])]
    batch = packed([sample], form())
    assert batch.positions[0].tolist() == [1, 2, 3, 4, 4, 4, 4, 4, 4, 5, 6]
    assert batch.ends == (7,)
