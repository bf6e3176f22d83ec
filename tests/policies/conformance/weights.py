"""What learns can be saved, published and loaded, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.weights.digests import weights_digest
from policies.checks import bfloat16_bits
from policies.config import ConfigError, PolicyConfig
from policies.graft import graft
from policies.interface import PictureSampling, Policy
from policies.registry import footprint
from tests.policies.conformance.family import (
    Family,
    drawings,
    same,
    sharpened,
)


def test_weights_are_what_learns_and_what_the_footprint_counts(
    family: Family, folder: Path
) -> None:
    fresh = family.policy.from_pretrained(folder)
    weights = fresh.weights()
    learning = {n for n, w in fresh.module.named_parameters() if w.requires_grad}
    assert set(weights) == learning
    assert all(array.dtype == np.float32 for array in weights.values())
    units = {id(unit) for unit in fresh.module.modules()}
    assert fresh.fsdp_units() and all(id(unit) in units for unit in fresh.fsdp_units())
    size = footprint(PolicyConfig(family=fresh.family, path=str(folder)))
    assert size.trained == sum(array.size for array in weights.values())


def test_saved_and_loaded_it_is_the_same(family: Family, policy: Policy, tmp_path: Path) -> None:
    policy.save_pretrained(tmp_path / "again")
    again = family.policy.from_pretrained(tmp_path / "again")
    assert weights_digest(again.weights()) == weights_digest(policy.weights())
    for ours, theirs in zip(drawings(family, policy), drawings(family, again), strict=True):
        assert same(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_published_weights_draw_as_those_that_learned(
    family: Family, policy: Policy, folder: Path, tmp_path: Path, dtype: str
) -> None:
    """Read-only arrays, as replicas map them; a replica that had others before."""
    weights = {name: array.copy() for name, array in policy.weights().items()}
    if dtype == "bfloat16":
        weights = bfloat16_bits(weights)
    for array in weights.values():
        array.flags.writeable = False
    digest = weights_digest(weights)
    first, second = (family.policy.from_pretrained(folder) for _ in range(2))
    second.load_weights({name: np.zeros_like(array) for name, array in weights.items()})
    first.load_weights(weights)
    second.load_weights(weights)
    assert not any(weight.requires_grad for weight in second.module.parameters())
    want = drawings(family, policy if dtype == "float32" else first)
    for ours, theirs in zip(want, drawings(family, second), strict=True):
        assert same(ours, theirs)
    back = second.weights()
    if dtype == "float32":
        assert all(np.shares_memory(back[name], array) for name, array in weights.items())
    second.save_pretrained(tmp_path / "published")
    again = family.policy.from_pretrained(tmp_path / "published").weights()
    for found in (back, again):
        assert weights_digest(bfloat16_bits(found) if dtype == "bfloat16" else found) == digest
    assert weights_digest(weights) == digest


def test_what_only_understanding_needs_changes_what_is_written_and_no_drawing_of_a_text(
    family: Family, policy: Policy, folder: Path
) -> None:
    other = sharpened(family, folder)
    parts, weights = other.understanding(), dict(other.weights())
    if not parts:
        pytest.skip(f"family {policy.family} shares all its weights")
    for name, rows in parts.items():
        weights[name] = weights[name].copy()
        weights[name][rows] = np.random.default_rng(3).normal(size=weights[name][rows].shape)
    other.load_weights(weights)
    one, two, three, four = family.prompts
    texts, how = [(one,), (two,), (three,)], [PictureSampling()] * 3
    for ours, theirs in zip(policy.draw(texts, how, range(3)), other.draw(texts, how, range(3))):
        assert same(ours, theirs)
    seen = [(family.picture(0), four)]
    assert (policy.log_probs(seen, [one])[0] != other.log_probs(seen, [one])[0]).any()


def test_a_graft_puts_back_what_only_understanding_needs_and_nothing_else(
    family: Family, folder: Path
) -> None:
    base, other = sharpened(family, folder), family.policy.from_pretrained(folder)
    other.load_weights({name: array + np.float32(1) for name, array in base.weights().items()})
    parts, before = other.understanding(), base.weights()
    if not parts:
        with pytest.raises(ConfigError, match=f"family {other.family} has no weights that only"):
            graft(other, base)
        return
    graft(other, base)
    for name, array in other.weights().items():
        wanted = before[name] + np.float32(1)
        if name in parts:
            wanted[parts[name]] = before[name][parts[name]]
        assert np.array_equal(array, wanted), name


def test_weights_of_another_dtype_leave_those_before_them_as_they_are(
    family: Family, policy: Policy, folder: Path
) -> None:
    """Arrays that are mapped belong to all replicas; versions need not be of one dtype."""
    exact = {name: array.copy() for name, array in policy.weights().items()}
    other = {name: array + np.float32(1) for name, array in exact.items()}
    loaded = family.policy.from_pretrained(folder)
    for version in (exact, bfloat16_bits(other), exact):
        loaded.load_weights(version)
    assert weights_digest(exact) == weights_digest(policy.weights())
    loaded.load_weights(bfloat16_bits(other))
    rounded = bfloat16_bits(loaded.weights())
    assert weights_digest(rounded) == weights_digest(bfloat16_bits(other))
    assert weights_digest(exact) == weights_digest(policy.weights())
