from __future__ import annotations

import pytest

from cluster.recipes import recipe
from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.layouts import registry
from evaluation.layouts.presets import ALL, overrides, presets
from evaluation.selection import fixed_sampling
from policies.checks import require_options
from policies.config import ConfigError
from policies.interface import PictureSampling
from policies.registry import policy_class
from trainer.config import RunConfig

FAMILIES = {"unicorn": "bagel", "srum": "bagel", "janus-pro": "janus"}


def config(preset: str, benchmark: str, *own: str) -> RunConfig:
    return recipe.defaults([*overrides(preset, benchmark), *own])


@pytest.mark.parametrize("benchmark", registry.MODULES)
@pytest.mark.parametrize("preset", FAMILIES)
def test_the_family_of_a_preset_knows_all_that_it_sets(preset: str, benchmark: str) -> None:
    made = config(preset, benchmark, f"policy.family={FAMILIES[preset]}")
    known = policy_class(made.policy).picture_options
    require_options(made.policy.family, known, [fixed_sampling(made)])


def test_every_value_has_a_source_and_every_preset_a_benchmark() -> None:
    assert set(presets()) == set(FAMILIES)
    for found in presets().values():
        assert found.pop("about")
        assert set(found) <= {ALL, *registry.MODULES}
        for settings in found.values():
            assert all(len(each) == 2 and each[1].strip() for each in settings.values())


@pytest.mark.parametrize(
    ("benchmark", "interval", "think"),
    [("geneval", (0.0, 1.0), 0), ("wise", (0.4, 1.0), 2048), ("tiif", (0.4, 1.0), 0)],
)
def test_unicorn_draws_as_its_released_scripts_do(
    benchmark: str, interval: tuple[float, float], think: int
) -> None:
    made = config("unicorn", benchmark, "policy.family=bagel")
    assert fixed_sampling(made) == PictureSampling(
        guidance=4.0, interval=interval, renorm="global", steps=49, shift=3.0, size=(1024, 1024)
    )
    assert made.policy.options()["think"] == think


def test_what_the_user_sets_goes_before_the_preset() -> None:
    made = config("unicorn", "geneval", "policy.family=bagel", "solver.steps=9")
    assert fixed_sampling(made).steps == 9


def test_no_preset_leaves_the_runs_own_sampling() -> None:
    assert overrides("", "geneval") == []


def test_an_unknown_preset_names_those_that_there_are() -> None:
    with pytest.raises(
        BenchmarkError, match="--preset is 'paper': it must be one of unicorn, srum"
    ):
        overrides("paper", "geneval")


def test_a_field_that_the_family_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="policy.think"):
        config("unicorn", "wise")
    made = config("unicorn", "geneval")
    known = policy_class(made.policy).picture_options
    with pytest.raises(ConfigError, match="solver.renorm is .global.: drawing by family tiny"):
        require_options("tiny", known, [fixed_sampling(made)], "solver.")
