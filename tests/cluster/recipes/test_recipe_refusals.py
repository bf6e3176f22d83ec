"""Recipes and overrides that once ended in a traceback, a guess, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.recipes.test_recipe import refusal, write


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("name=..", "name is '..': it must be a plain folder name"),
        ("proposer.cpus=0.00009", "proposer.cpus is 9e-05: it must be from 0.0001 on"),
        (
            "solver.gpus=1.5",
            "solver.gpus is 1.5: it must be 0, a fraction below 1 (from 0.0001 on)",
        ),
        ("judge.gpus=-1", "judge.gpus is -1: it must be 0, a fraction below 1"),
        ("trainer.gpus=2", "trainer.gpus is 2: it must be 0 or 1"),
        ("trainer.precision=fp8", "trainer.precision is 'fp8': it must be \"float32\" or"),
        ("trainer.micro_batch=-1", "trainer.micro_batch is -1: it must be 0 or more"),
        ("policy.dtype=half", "policy.dtype is 'half': it must be \"float32\" for family tiny"),
        (
            "policy={family: janus, dtype: half}",
            'policy.dtype is \'half\': it must be "float32" or "bfloat16" for family janus',
        ),
        ("proposer.temperature=-1", "proposer.temperature is -1: it must be 0, or from 0.001 on"),
        ("judge.temperature=1e-40", "judge.temperature is 1e-40: it must be 0, or from 0.001 on"),
        ("solver.temperatures=[1, -1]", "solver.temperatures is -1: it must be 0, or from 0.001"),
        (
            "solver.temperatures=[]",
            "solver.temperatures is []: it must be a list of 1 or more, each a",
        ),
        ("proposer.max_tokens=0", "proposer.max_tokens is 0: it must be 1 or more"),
        ("proposer.reseed_candidates=-1", "proposer.reseed_candidates is -1: it must be 0 or more"),
        ("proposer.attempts=1001", "proposer.attempts is 1001: it must be from 1 to 1000"),
        ("judge.votes=1001", "judge.votes is 1001: it must be from 1 to 1000"),
        ("evaluation.prompts=100001", "evaluation.prompts is 100001: it must be from 1 to 100000"),
        ("trainer.eps=1e-50", "trainer.eps is 1e-50: it must be 1e-30 or more"),
        ('name="\\ud800"', "name is '\\ud800': it must be a text (quote it) that can be a name"),
        ('folder="a\\0b"', "folder is 'a\\x00b': it must be a text (quote it) that can be a name"),
        (f"policy.path={'a' * 300}", "aaa': it must be a text (quote it) that can be a name"),
        (f"rounds={2**63}", "rounds is 9223372036854775808: it must be a whole number below 2**63"),
        ("proposer.cpus=1e300", "proposer.cpus is 1e+300: it must be a finite number within 1e+09"),
        (
            "trainer={lr: 1, lr: 2}",
            "trainer.lr is set again, first in override trainer={lr: 1, lr:",
        ),
        ("rounds=a\nb", "override 'rounds=a\\nb': rounds is 'a b': it must be a whole number"),
    ],
)
def test_an_override_that_no_run_can_have_is_refused(
    tmp_path: Path, override: str, said: str
) -> None:
    message = refusal(write(tmp_path, ""), override)
    assert message.startswith("override ") and said in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: &a 1\nrounds: *a\n", ", line 1: not YAML: anchors"),
        ("seed: !!int 1_0\n", ", line 1: not YAML: anchors"),
        ("trainer: !!float {lr: 1}\n", ", line 1: not YAML: anchors"),
        ("lag: !!bool maybe\n", ", line 1: not YAML: anchors"),
        ("seed: 1\nname: " + "[" * 3000, ", line 2: not YAML: lists and sections are nested too"),
        ("seed: 1\nname: " + "{a: " * 3000, ", line 2: not YAML: lists and sections are nested"),
        (
            'seed: 1\nname: "\\UFFFFFFFF"\n',
            ", line 2: not YAML: an escape in a quoted text names no",
        ),
        (f"seed: {'9' * 5000}\n", ", line 1: not YAML: a number has too many digits"),
        (
            "trainer: {lr: 1}\nseed: 2\ntrainer: {eps: 1}",
            ", line 3: not YAML: the section trainer st",
        ),
        ("#" * 70_000, "is larger than 65536 bytes"),
        ('"a\\nb": 1\n', "there is no field 'a\\nb'; the nearest is"),
        ("? " + "x" * 30_000 + "\n: 1\n", "the nearest is"),
        ('base: "a\\0b"\n', "base is 'a\\x00b': it must be a recipe's file"),
        ('base: "\\ud800"\n', "base is '\\ud800': it must be a recipe's file"),
        (f"base: {'a' * 300}/r.yaml\n", "cannot be read as a recipe (File name too long)"),
    ],
    ids=lambda text: text[:30],
)
def test_a_recipe_that_misleads_its_reader_is_refused(tmp_path: Path, text: str, said: str) -> None:
    message = refusal(write(tmp_path, text))
    assert str(tmp_path) in message and said in message
    assert "\n" not in message and len(message) < 1500


def test_a_base_of_a_base_may_be_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    message = refusal(write(tmp_path, "base: loop.yaml\n"))
    assert "loop.yaml" in message and "symbolic links" in message
