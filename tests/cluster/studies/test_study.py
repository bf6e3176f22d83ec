"""What a study's file may say, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.storage import storage
from actors.storage.paths import run_folder
from cluster.recipes import recipe
from cluster.studies import plan, study
from cluster.studies.measured import apart, base_apart, done, mark, marked
from policies.config import ConfigError, changed

RECIPE = Path(__file__).resolve().parents[3] / "configs" / "smoke.yaml"
TWO_ARMS = "arms:\n  whole: {}\n  half:\n    proposer: {prompts: 20}\n"
SERVER = ["server=http://host:8000/v1", "server_model=M"]


def written(folder: Path, text: str = TWO_ARMS, head: str = f"recipe: {RECIPE}\n") -> str:
    file = folder / "mine.yaml"
    file.write_text(head + text)
    return str(file)


@pytest.mark.parametrize("name", study.SHIPPED.names())
def test_every_study_that_ships_can_be_read_and_differs_in_what_its_arms_say(name: str) -> None:
    found = study.load(name, SERVER)
    assert found.fields.title and found.fields.seeds == (0, 1, 2)
    for arm in found.arms:
        run = found.run(arm, 1) if not arm.fields.graft else found.measuring(arm, 1)
        assert run.seed == 1 and run.evaluation.prompts == 500


def test_an_arm_with_a_seed_is_an_ordinary_run_in_the_studys_folder(tmp_path: Path) -> None:
    found = study.load(written(tmp_path), [f"folder={tmp_path}", "seeds=2", "trainer.lr=3e-4"])
    run = found.run(found.arm("half"), 1)
    alone = recipe.load(RECIPE, ["proposer.prompts=20", "trainer.lr=3e-4", "seed=1"])
    assert run == changed(alone, name="half-seed-1", folder=str(tmp_path / "mine"))
    assert [(arm.name, seed) for arm, seed in found.runs()] == [
        ("whole", 0), ("half", 0), ("whole", 1), ("half", 1)
    ]  # fmt: skip


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    more = ["proposer.prompts=30", "arms.half.rounds=1", "name=other", "seeds=[7]"]
    found = study.load(written(tmp_path), more)
    assert [found.run(arm, 7).proposer.prompts for arm in found.arms] == [30, 30]
    assert [found.run(arm, 7).rounds for arm in found.arms] == [2, 1]
    assert found.folder.name == "other" and found.fields.seeds == (7,)


def test_a_server_that_judges_does_not_measure(tmp_path: Path) -> None:
    found = study.load("unicorn-star", SERVER)
    arm = found.arm("unicorn-star")
    run, measuring = found.run(arm, 0), found.measuring(arm, 0)
    assert run.proposer.server == run.judge.server == "http://host:8000/v1"
    assert (run.evaluation.suite, measuring.evaluation.suite) == ("none", "tiny_world")
    assert measuring.judge.server == measuring.proposer.server == ""
    assert measuring.evaluation == found.run(found.arm("own"), 0).evaluation


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no arms"),
        ("arms: {a: {}, b: {}}", "the arms a and b are the same run"),
        ("arms: {a: {proposer: {prompt: 3}}}", "line 2: there is no field proposer.prompt; the nearest is"),
        ("arms: {a: {proposer: {prompts: 0}}}", "line 2: proposer.prompts is 0: it must be"),
        ("arms: {a: 3}", "line 2: arms.a is 3: it must be a section"),
        ("arms: {A: {}}", "an arm's name is 'A': it must be of small letters"),
        ("arms: {a: {seed: 1}}", "an arm cannot set seed: seeds="),
        ("arms: {a: {evaluation: {prompts: 3}}}", "cannot be compared: set it for all of them"),
        ("arms: {a: {}}\nseed: 2", "seeds=... gives all of them"),
        ("arms: {a: {}}\nseeds: []", "seeds is []: it must be a list of 1 or more"),
        ("arms: {a: {}}\nseeds: [1, 1]", "seeds is [1, 1]: it must be a list that names each seed once"),
        ("arms: {a: {}, b: {graft: c}}", "graft of arm b is 'c': it must be one of a"),
        ("arms: {a: {}, b: {graft: a, rounds: 3}}", "arm b sets rounds, but it is measured on the runs of a"),
        ("arms: {a: {}, b: {graft: a}, c: {graft: a}}", "the arms b and c are the same run"),
        ("arms: {a: {}, b: {external: [judge]}}", "give server=http://HOST:PORT/v1 server_model=NAME"),
        ("arms: {a: {x: 1}, b: {rounds: 3}}\naxis: x", "arm b has no x"),
        (f"arms: {{a: {{}}, b: {{graft: a, recipe: {RECIPE}}}}}", "arm b sets recipe, but it is measured on the runs"),
        ("arms: {a: {}, b: {recipe: nowhere.yaml}}", "there is no recipe"),
        ("axis: y\narms: {a: {}}", "axis is 'y': it must be"),
        ("nonsense: 1\narms: {a: {}}", "there is no field nonsense"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        study.load(written(tmp_path, text))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_an_arm_may_have_a_recipe_of_its_own_that_measures_the_same(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    text = f"base: {RECIPE}\nname: own\nevaluation:\n  guidances: [2, 3]\n"
    own.write_text(text)
    path = written(
        tmp_path, "rounds: 4\narms: {a: {}, b: {recipe: own.yaml, solver: {rollouts: 3}}}"
    )
    found = study.load(path)
    run = found.run(found.arm("b"), 1)
    assert (run.name, run.rounds, run.solver.rollouts) == ("b-seed-1", 4, 3)
    assert run.evaluation.guidances == (2, 3) != found.run(found.arm("a"), 1).evaluation.guidances
    own.write_text(text + "  prompts: 7\n")
    with pytest.raises(
        ConfigError, match=r"evaluation.prompts is 7 in arm b and \d+ in a, so they cannot"
    ):
        study.load(path)


def test_a_study_without_a_recipe_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no recipe"):
        study.load(written(tmp_path, head=""))
    with pytest.raises(ConfigError, match="there is no recipe"):
        study.load(written(tmp_path, head="recipe: nowhere.yaml\n"))
    with pytest.raises(ConfigError, match="there is no study ablation: give one of ablations,"):
        study.load("ablation")


def test_a_folder_that_holds_another_run_is_refused_by_name(tmp_path: Path) -> None:
    found = study.load(written(tmp_path), [f"folder={tmp_path}", "seeds=1"])
    arm = found.arms[0]
    recipe.claim_folder(changed(found.run(arm, 0), rounds=5))
    with pytest.raises(ConfigError, match="whole-seed-0 holds another run: rounds is 5 there"):
        plan.steps(found)


def test_a_run_is_done_once_its_mark_is_there_and_its_last_version_measured(tmp_path: Path) -> None:
    found = study.load(written(tmp_path), [f"folder={tmp_path}", "seeds=1"])
    arm = found.arms[0]
    run = found.run(arm, 0)
    assert [step.state for step in plan.steps(found)] == ["to do", "to do"]
    folder = recipe.claim_folder(run)
    assert [step.state for step in plan.steps(found)] == ["goes on", "to do"]
    mark(run)
    assert marked(run) and not done(found, arm, 0)
    kept = folder / "evaluation" / "version-00002.json"
    fields = '"version": 2, "settings": {}, "values": {}, "outcomes": {}, "samples": []'
    storage.write(kept, f"{{{fields}}}".encode())
    assert [step.state for step in plan.steps(found)] == ["done", "to do"]
    assert not marked(changed(run, rounds=3))


def test_a_run_that_was_moved_is_still_done_and_a_study_of_no_suite_is_refused(
    tmp_path: Path,
) -> None:
    found = study.load(written(tmp_path), [f"folder={tmp_path}/a", "seeds=1"])
    run = found.run(found.arms[0], 0)
    recipe.claim_folder(run)
    mark(run)
    (tmp_path / "a").rename(tmp_path / "b")
    again = study.load(written(tmp_path), [f"folder={tmp_path}/b", "seeds=1"])
    assert marked(again.run(again.arms[0], 0))
    blind = study.load(written(tmp_path), ["evaluation.suite=none", f"folder={tmp_path}"])
    with pytest.raises(ConfigError, match="suite is 'none': a study compares what is measured"):
        plan.check(blind, [])


def test_an_arm_whose_checkpoint_is_not_there_is_named(tmp_path: Path) -> None:
    arms = f"arms:\n  whole: {{}}\n  other:\n    policy: {{path: {tmp_path / 'none'}}}\n"
    found = study.load(written(tmp_path, arms), [f"folder={tmp_path}"])
    for refused in (
        lambda: plan.check(found, plan.steps(found)),
        lambda: list(plan.described(found)),
    ):
        with pytest.raises(ConfigError, match="^arm other: .*none"):
            refused()


def test_an_arm_that_is_measured_apart_is_compared_with_its_own_base(tmp_path: Path) -> None:
    arms = "evaluation: {tasks: []}\n" + TWO_ARMS
    own = "  other:\n    external: [judge]\n    policy: {path: elsewhere}\n"
    found = study.load(written(tmp_path, arms + own), [f"folder={tmp_path}", *SERVER])
    base = base_apart(found, found.arm("other"), 1)
    assert (base.policy.path, base.seed) == ("elsewhere", 1)
    assert run_folder(base).name == "base-of-other-seed-1"
    (tmp_path / "fewer.yaml").write_text(f"base: {RECIPE}\nevaluation: {{prompts: 30}}\n")
    more = "  other:\n    external: [judge]\n    recipe: fewer.yaml\n"
    with pytest.raises(ConfigError, match="evaluation.prompts is 30 in arm other and"):
        study.load(written(tmp_path, arms + more), SERVER)


def test_what_is_measured_apart_has_a_folder_beside_the_runs(tmp_path: Path) -> None:
    grafts = TWO_ARMS + "  grafted: {graft: half}\n"
    found = study.load(written(tmp_path, grafts), [f"folder={tmp_path}"])
    config = apart(found, found.arm("grafted"), 2)
    assert run_folder(config) == tmp_path / "mine" / "measured" / "grafted-seed-2"
    assert (config.proposer.prompts, config.seed) == (20, 2)
    assert next(reversed(list(found.runs())))[0].name == "grafted"
