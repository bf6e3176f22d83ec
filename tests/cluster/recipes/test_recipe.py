from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.recipes import recipe, yaml12
from policies.config import ConfigError, changed
from trainer.config import RunConfig, TrainerConfig

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def write(folder: Path, text: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(path: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        recipe.load(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_recipe_loads_and_is_named_like_its_file(path: Path) -> None:
    assert recipe.load(path).name == path.stem


def test_the_default_recipe_fits_two_cores() -> None:
    from cluster.sizing.needs import needs, total

    assert total(needs(recipe.load(ROOT / "configs/tiny.yaml")), "cpus") <= 2.0


def test_the_ablation_differs_only_in_its_patterns() -> None:
    whole = recipe.load(ROOT / "configs/tiny-paper.yaml")
    alone = recipe.load(ROOT / "configs/tiny-generation-only.yaml")
    mix = changed(whole.reconstruction, caption=0.0, judgement=0.0, reflection=0.0)
    assert alone == changed(whole, name=alone.name, reconstruction=mix)


def test_an_empty_recipe_is_the_defaults(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "{}\n", "trainer: {}\n"):
        assert recipe.load(write(tmp_path, text)) == RunConfig()


def test_values_and_overrides_have_their_types(tmp_path: Path) -> None:
    path = write(
        tmp_path, "trainer:\n  lr: 1e-4\n  betas: [0.5, 1e-1]\n  clip: 2\nname: 2026-11-22\n"
    )
    config = recipe.load(path, ["trainer.eps=1e-8", "rounds=010", "solver.guidance=[1, 2.5]"])
    assert config.trainer.lr == 1e-4
    assert config.trainer.betas == (0.5, 0.1)
    assert config.trainer.clip == 2.0 and type(config.trainer.clip) is float
    assert config.trainer.eps == 1e-8
    assert config.solver.guidance == (1.0, 2.5)
    assert (config.name, config.rounds) == ("2026-11-22", 10)


def test_an_override_of_one_entry_keeps_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, "trainer:\n  loss_weights:\n    caption: 2\n")
    weights = recipe.load(path, ["trainer.loss_weights.reflection=0.5"]).trainer.loss_weights
    assert dict(weights) == {
        "generation": 1.0, "caption": 2.0, "judgement": 1.0, "reflection": 0.5,
    }  # fmt: skip


def test_a_chance_for_all_conditions_is_that_of_the_text(tmp_path: Path) -> None:
    for text in ("condition_dropout: 0.1", "condition_dropout: {text: 0.1}"):
        path = write(tmp_path, f"reconstruction: {{{text}}}\n")
        dropout = recipe.load(path).reconstruction.condition_dropout
        assert dict(dropout) == {"text": 0.1, "latents": 0.0, "features": 0.0}


def test_the_last_override_and_the_child_recipe_win(tmp_path: Path) -> None:
    write(tmp_path, "rounds: 3\nseed: 1\ntrainer: {lr: 1e-3, epochs: 4}\n", "low.yaml")
    write(tmp_path, "base: low.yaml\nseed: 2\ntrainer: {lr: 1e-2}\n", "mid.yaml")
    top = write(tmp_path, "base: mid.yaml\nname: top\n", "top.yaml")
    config = recipe.load(top, ["seed=3", "seed=4"])
    assert (config.name, config.rounds, config.seed) == ("top", 3, 4)
    assert (config.trainer.lr, config.trainer.epochs) == (1e-2, 4)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("trainer.lrate", "trainer.lr"),
        ("lr", "trainer.lr"),
        ("solver.rollout", "solver.rollouts"),
        ("trainer.accept_at", "judge.accept_at"),
        ("trainer.loss_weights.judgment", "trainer.loss_weights.judgement"),
        ("trainers", "trainer.lr"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(
    tmp_path: Path, name: str, nearest: str
) -> None:
    message = refusal(write(tmp_path, f"seed: 1\n{name}: 1\n"))
    assert message.startswith(f"{tmp_path / 'r.yaml'}, line 2: there is no field {name}; ")
    known = message.removesuffix("\n").rsplit(" ", 1)[1]
    assert known == nearest or (name == "trainers" and known in recipe_names())
    assert name in refusal(write(tmp_path, ""), f"{name}=1")


def recipe_names() -> set[str]:
    from cluster.recipes.settings import flat

    return set(flat(RunConfig()))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rounds=0", "rounds is 0: it must be 1 or more"),
        ("trainer.lr=-1e-4", "trainer.lr is -0.0001: it must be above 0"),
        ("judge.accept_at=11", "judge.accept_at is 11: it must be from 0 to 10"),
        ("lag=2", "lag is 2: it must be 0 or 1"),
        ("judge.weights=newest", "judge.weights is 'newest': it must be"),
        ("name=a/b", "name is 'a/b': it must be a plain folder name"),
    ],
)
def test_an_impossible_value_is_refused_with_its_place(
    tmp_path: Path, override: str, said: str
) -> None:
    message = refusal(write(tmp_path, ""), override)
    assert message.startswith(f"override {override}: ") and said in message
    name, value = override.split("=")
    message = refusal(write(tmp_path, f"\n\n{name}: {value}\n"))
    assert message.startswith(f"{tmp_path / 'r.yaml'}, line 3: ") and said in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rounds=1.0", "rounds is 1.0: it must be a whole number"),
        ("rounds=true", "rounds is True: it must be a whole number"),
        ("trainer.lr=fast", "trainer.lr is 'fast': it must be a finite number"),
        ("trainer.lr=.inf", "trainer.lr is inf: it must be a finite number"),
        ("trainer.lr=.nan", "trainer.lr is nan: it must be a finite number"),
        (f"trainer.lr={10**400}", "it must be a finite number"),
        ("trainer.lr=", "trainer.lr is None: it must be a finite number"),
        ("name=7", "name is 7: it must be a text"),
        ("trainer.betas=[0.9]", "trainer.betas is [0.9]: it must be a list of 2"),
        ("trainer.betas=0.9", "trainer.betas is 0.9: it must be a list of 2"),
        ("solver.guidance=[low]", "solver.guidance is 'low': it must be a finite number"),
        ("trainer=5", "trainer is 5: it must be a section with fields such as trainer.workers"),
        ("trainer.loss_weights=[1]", "trainer.loss_weights is [1]: it must be a section"),
        ("rounds", "write name=value"),
        ("=3", "write name=value"),
        ("rounds={}", "rounds is {}: it must be a whole number"),
        ("lag=true", "lag is True: it must be"),
        ("trainer.recompute=1", "trainer.recompute is 1: it must be true or false"),
        ("trainer.loss_weights.caption=on", "trainer.loss_weights.caption is 'on': it must be a f"),
        (
            "reconstruction.condition_dropout=1",
            "reconstruction.condition_dropout.text is 1: it must",
        ),
        ("evaluation.guidance=-1", "evaluation.guidance is -1: it must be 0 or more, or null"),
        ("policy.family=7", "policy.family is 7: it must be one of 'tiny', 'janus'"),
        ("policy={dtype: bfloat16}", "policy.dtype is 'bfloat16': it must be \"float32\" for"),
        ("trainer.lr=[", "override trainer.lr=[: the value is not YAML"),
    ],
)
def test_a_wrong_type_is_refused_with_field_value_and_what_is_expected(
    tmp_path: Path, override: str, said: str
) -> None:
    assert said in refusal(write(tmp_path, ""), override)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\ntrainer: {lr: 1\n", ", line 3: not YAML: "),
        ("seed: 1\n\ttrainer: 2\n", ", line 2: not YAML: "),
        ("seed: 1\nname: a\x01b\n", ", line 2: not YAML: "),
        ("seed: !!int one\n", ", line 1: not YAML: "),
        ("seed: !!python/object:os.system {}\n", ", line 1: "),
        ("- a\n- b\n", "a recipe is a list of `field: value`"),
        ("seed: 1\nseed: 2\n", ", line 2: seed is set again, first in "),
        ("? [a, b]\n: 1\n", "a name must be a plain text"),
        ("a: &a\n  b: *a\n", ", line 1: not YAML: anchors (&), aliases (*) and tags (!) are not"),
        ("---\nseed: 1\n---\nseed: 2\n", "not YAML"),
        ("base: 3\n", "base is 3: it must be a recipe's file"),
        ("base: nowhere.yaml\n", "there is no recipe"),
        ("base: r.yaml\n", "is based on itself"),
        ("base: ../{folder}/r.yaml\n", "is based on itself"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_line(tmp_path: Path, text: str, said: str) -> None:
    message = refusal(write(tmp_path, text.replace("{folder}", tmp_path.name)))
    assert str(tmp_path) in message and said in message
    assert "\n" not in message and len(message) < 1000


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"name: \xff\n")
    assert str(path) in refusal(path)


def test_a_missing_recipe_is_named_with_those_that_exist(tmp_path: Path) -> None:
    there = write(tmp_path, "", "there.yaml")
    message = refusal(tmp_path / "their.yaml")
    assert "no recipe" in message and str(there) in message
    assert str(there) in refusal(tmp_path)


CONFIGS = st.builds(
    RunConfig,
    name=st.text(
        st.characters(exclude_characters="/.", exclude_categories=("C", "Z")), min_size=1, max_size=20
    )
    | st.sampled_from(["1e-4", "on", "null", "~", "010", "0x1", ".5", "# a", "a: b", "true", ".nan"]),
    seed=st.integers(0, 2**63 - 1),
    lag=st.sampled_from([0, 1]),
    trainer=st.builds(
        TrainerConfig,
        lr=st.floats(0, 1e9, exclude_min=True),
        betas=st.tuples(
            st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)
        ),
    ),
)  # fmt: skip


@settings(max_examples=40)
@given(CONFIGS)
def test_what_was_dumped_loads_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, config: RunConfig
) -> None:
    path = write(tmp_path_factory.mktemp("dump"), recipe.dump(config))
    assert recipe.load(path) == config
    assert recipe.config_digest(recipe.load(path)) == recipe.config_digest(config)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))) | st.floats() | st.integers())
def test_a_scalar_in_a_message_is_one_line(value: object) -> None:
    assert "\n" not in yaml12.scalar(value)


def test_the_digest_is_of_the_run_and_not_of_its_place() -> None:
    config = RunConfig()
    assert recipe.config_digest(config) == recipe.config_digest(changed(config, folder="elsewhere"))
    assert recipe.config_digest(config) != recipe.config_digest(changed(config, seed=1))


def test_a_claimed_folder_says_what_it_runs_and_is_found_again(tmp_path: Path) -> None:
    config = changed(RunConfig(), folder=str(tmp_path / "deep" / "runs"))
    folder = recipe.claim_folder(config)
    assert folder == tmp_path / "deep" / "runs" / "tiny"
    assert [p.name for p in folder.iterdir()] == [recipe.CONFIG_FILE]
    assert recipe.load_folder(folder) == config
    before = (folder / recipe.CONFIG_FILE).stat().st_mtime_ns
    assert recipe.claim_folder(config) == folder
    assert (folder / recipe.CONFIG_FILE).stat().st_mtime_ns == before


def test_a_claim_that_was_killed_while_writing_is_made_again(tmp_path: Path) -> None:
    config = changed(RunConfig(), folder=str(tmp_path))
    (tmp_path / "tiny").mkdir()
    write(tmp_path / "tiny", "nam", f"{recipe.CONFIG_FILE}.0a1b.tmp")
    assert recipe.load_folder(recipe.claim_folder(config)) == config


def test_another_runs_folder_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    config = changed(RunConfig(), folder=str(tmp_path))
    folder = recipe.claim_folder(config)
    other = changed(config, trainer=changed(config.trainer, lr=2e-4, epochs=9))
    with pytest.raises(ConfigError) as caught:
        recipe.claim_folder(other)
    assert str(caught.value) == (
        f"{folder} holds another run: trainer.lr is 0.0001 there and 0.0002 here; give another "
        "name=..., or delete the folder to start anew"
    )
    assert recipe.load_folder(folder) == config


def test_folders_that_no_run_can_have_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    write(tmp_path / "tiny", "", "thesis.txt")
    (tmp_path / "file").write_text("")
    for place, said in (
        (str(tmp_path), "thesis.txt"),
        (str(tmp_path / "file"), "cannot be made"),
    ):
        with pytest.raises(ConfigError, match=said):
            recipe.claim_folder(changed(RunConfig(), folder=place))
    assert [p.name for p in (tmp_path / "tiny").iterdir()] == ["thesis.txt"]


def test_a_run_that_was_moved_goes_on_where_it_is(tmp_path: Path) -> None:
    config = changed(RunConfig(), folder=str(tmp_path / "runs"))
    (tmp_path / "kept").mkdir()
    moved = recipe.claim_folder(config).rename(tmp_path / "kept" / "first")
    here = changed(config, folder=str(tmp_path / "kept"), name="first")
    assert recipe.load_folder(moved) == here
    assert recipe.claim_folder(here) == moved


def test_a_folder_without_a_run_names_the_runs_beside_it(tmp_path: Path) -> None:
    folder = recipe.claim_folder(changed(RunConfig(), folder=str(tmp_path)))
    with pytest.raises(ConfigError, match=str(folder)):
        recipe.load_folder(tmp_path / "tyni")
