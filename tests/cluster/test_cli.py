from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli import UNREAD
from cluster.recipes import recipe
from tests.cluster.program import ROOT, refused, unicorn

HANG_S = 300.0
TINY = str(ROOT / "configs" / "tiny.yaml")


def checkpoint(folder: Path) -> str:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(1024))
    shutil.copy(ROOT / "policies/tiny/base/config.json", folder)
    return f"policy.path={folder}"


def test_help_lists_the_commands() -> None:
    done = unicorn("--help")
    assert done.returncode == 0
    for command in ("run", "resume", "evaluate", "report", "gallery", "dashboards"):
        assert re.search(rf"^ +{command}\b", done.stdout, re.MULTILINE)


def test_the_version_names_what_a_bug_report_needs() -> None:
    done = unicorn("--version")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    for name in ("unicorn-ray", "Python", "torch", "ray", "pyarrow", "transformers"):
        assert re.search(rf"\b{name} (\d+\.\d+|not installed)", done.stdout), name
    if (ROOT / ".git").exists():
        assert re.search(r"\(commit [0-9a-f]{7,}\+?\)", done.stdout)


def test_nothing_heavy_is_imported_to_say_the_version() -> None:
    program = "import sys; from cluster import version; version.describe(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert {"torch", "ray", "pyarrow", "transformers"}.isdisjoint(done.stdout.split())


def test_the_module_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == unicorn("--help").stdout


def test_a_dry_run_shows_what_would_run_and_leaves_nothing(tmp_path: Path) -> None:
    done = unicorn("run", TINY, "rounds=3", "--dry-run", "trainer.lr=2e-4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text, table = done.stdout.split("\n\n", 1)
    (tmp_path / "again.yaml").write_text(text)
    assert recipe.load(tmp_path / "again.yaml") == recipe.load(
        TINY, ["rounds=3", "trainer.lr=2e-4"]
    )
    for actor in ("proposer", "solver", "judge", "trainer worker", "total"):
        assert re.search(rf"^{actor} ", table, re.MULTILINE)
    assert [p.name for p in tmp_path.iterdir()] == ["again.yaml"]


def test_a_dry_run_of_what_is_too_much_for_this_machine_says_so(tmp_path: Path) -> None:
    done = unicorn("run", TINY, "solver.replicas=9999", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0 and "too few" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", TINY, "trainer.l_r=1"), "the nearest is trainer.lr"),
        (("run", TINY, "rounds=0"), "rounds is 0: it must be 1 or more"),
        (("run", TINY, "rounds=many"), "rounds is 'many': it must be a whole number"),
        (
            ("run", TINY, "--dry-run", "solver.steps=9"),
            "solver.steps is 9: drawing by family tiny",
        ),
        (
            ("run", TINY, "--dry-run", "reconstruction.condition_dropout.latents=0.1"),
            "reconstruction.condition_dropout.latents is 0.1: family tiny",
        ),
        (
            ("run", TINY, "--dry-run", "judge.hygiene.clip=nowhere", "judge.hygiene.clip_from=0"),
            "judge.hygiene.clip is 'nowhere', where there is no config.json",
        ),
        (("run", "tiny.yaml"), "there is no recipe tiny.yaml"),
        (("run", "broken.yaml"), "broken.yaml, line 2: not YAML"),
        (("run", TINY, "policy.path=nowhere"), "there is no checkpoint in nowhere"),
        (("resume", "runs/none"), "runs/none is not a run folder"),
        (("report", "runs/none"), "runs/none is not a run folder"),
        (("gallery", "runs/none"), "runs/none is not a run folder"),
        (("evaluate", "runs/none"), "runs/none can not be measured"),
        (("evaluate", "a" * 300), "aaa can not be measured"),
        (("evaluate", "a" * 300 + "/b"), "aaa/b can not be measured"),
        (("resume", "a" * 300), "aaa is not a run folder"),
        (("report", "a" * 300 + "/b"), "aaa/b is not a run folder"),
        (("dashboards", "broken.yaml"), "the dashboard cannot be put into broken.yaml"),
    ],
)
def test_what_a_person_can_mend_is_one_sentence(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "broken.yaml").write_text("seed: 1\nname: ]\n")
    assert said in refused(*words, cwd=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["broken.yaml"]


@pytest.mark.parametrize("place", ["8270", "127.0.0.1", "127.0.0.1:x", ":1", "on"])
def test_a_place_of_the_gallery_that_is_none_is_refused(tmp_path: Path, place: str) -> None:
    weights = checkpoint(tmp_path / "checkpoint")
    sentence = refused("run", TINY, weights, "--gallery", place, cwd=tmp_path)
    assert f"--gallery is {place!r}: it must be HOST:PORT" in sentence
    assert not (tmp_path / "runs").exists()


def test_too_few_cpus_name_every_actor_before_anything_starts(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "checkpoint")
    sentence = refused("run", TINY, weights, "solver.replicas=9999", cwd=tmp_path)
    for actor in (
        "proposer 1 x 0.2",
        "solver 9999 x 0.3",
        "judge 1 x 0.4",
        "trainer worker 2 x 0.4",
    ):
        assert actor in sentence
    assert not (tmp_path / "runs").exists()


def test_a_measurement_that_cannot_be_done_is_refused_before_ray_starts(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint")
    weights = ("evaluate", "checkpoint")
    for words, said in (
        (("solver.replicas=9999",), "measuring asks for 4000.2 CPUs and this machine has "),
        (("evaluation.suite=tiny_word",), "evaluation.suite is 'tiny_word'"),
        (("policy.family=tinny",), "policy.family is 'tinny'"),
    ):
        assert said in refused(*weights, *words, cwd=tmp_path)
    folder = str(tmp_path / "runs")
    recipe.claim_folder(recipe.load(TINY, ["policy.path=nowhere", f"folder={folder}"]))
    assert "there is no checkpoint in nowhere" in refused("evaluate", "runs/tiny", cwd=tmp_path)


def test_a_full_disk_is_found_before_anything_starts(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "checkpoint")
    sentence = refused("run", TINY, weights, "proposer.prompts=9999999999", cwd=tmp_path)
    assert "runs/tiny needs up to " in sentence and "folder=..." in sentence
    assert not (tmp_path / "runs").exists()


def test_another_runs_folder_is_refused_before_anything_starts(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "checkpoint")
    folder = str(tmp_path / "runs")
    recipe.claim_folder(recipe.load(TINY, [weights, f"folder={folder}", "trainer.lr=0.01"]))
    sentence = refused("run", TINY, weights, cwd=tmp_path)
    assert f"trainer.lr is 0.01 there and {recipe.load(TINY).trainer.lr:g} here" in sentence


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"  # bound, but nobody listens
        sentence = refused("evaluate", "checkpoint", cwd=tmp_path, RAY_ADDRESS=address)
    assert f"no Ray answers at {address}, which RAY_ADDRESS names" in sentence


def test_words_that_no_command_takes_are_refused() -> None:
    for words in (("run", TINY, "--rounds"), ("resume", "runs/tiny", "x"), (), ("walk",)):
        done = unicorn(*words)
        assert done.returncode == 2 and done.stderr.startswith("usage: ")


@pytest.mark.parametrize(
    "words", [("run", TINY), ("resume", "run"), ("chaos", TINY), ("evaluate", "run")]
)
def test_rays_environment_is_settled_before_anything_imports_it(
    tmp_path: Path, words: tuple[str, str]
) -> None:
    """Ray reads it then, and a run of its own would else be refused by its own token."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("name: run\n")
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from cluster import cli\n"
        "from cluster.session import ray_session\n"
        "def settle(): sys.exit(7 if 'ray' in sys.modules else 5)\n"
        "ray_session.settle = settle\n"
        "cli.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, str(ROOT), *words]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 5


@pytest.mark.parametrize("how", [(), ("-u",)])
def test_output_that_nobody_reads_any_more_ends_the_program_quietly(how: tuple[str, ...]) -> None:
    command = [sys.executable, *how, "-m", "cluster", "study", "mechanisms", "--dry-run"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()  # long before anything is written
    assert running.stderr.read() == b""
    assert running.wait(HANG_S) == UNREAD
