from __future__ import annotations

from pathlib import Path

import pytest

from actors.storage.paths import parse_path
from cluster import evaluate, evaluate_task
from cluster.recipes import recipe
from evaluation.tasks.folder import EvaluationError
from policies.config import ConfigError, changed
from trainer.config import RunConfig


def weights(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_checkpoint_is_measured_with_the_defaults(tmp_path: Path) -> None:
    folder = weights(tmp_path / "checkpoint")
    config = evaluate.target(folder, ["evaluation.prompts=7"])
    assert config.policy.path == str(folder)
    assert config.evaluation.prompts == 7
    assert changed(
        config, policy=RunConfig().policy, evaluation=RunConfig().evaluation
    ) == RunConfig()  # fmt: skip


@pytest.mark.slow
def test_of_a_run_the_newest_weights_are_measured_with_its_settings(tmp_path: Path) -> None:
    run = recipe.claim_folder(changed(RunConfig(), seed=5, folder=str(tmp_path)))
    assert evaluate.target(run, []).policy.path == "base"
    for name in ("00001", "00010", "00009", "00011.tmp"):
        weights(run / "versions" / name)
    config = evaluate.target(run, [])
    assert config.policy.path == str(run / "versions" / "00010")
    assert config.seed == 5


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "a" * 300 + "/b"])
def test_a_path_that_no_disk_can_hold_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can not be measured"):
        evaluate.target(tmp_path / name, [])
    with pytest.raises(ConfigError, match="is not a run folder"):
        recipe.load_folder(tmp_path / name)


def test_a_run_without_a_suite_is_not_measured(tmp_path: Path) -> None:
    folder = weights(tmp_path / "checkpoint")
    with pytest.raises(
        ConfigError, match=r"evaluation\.suite is 'none': nothing would be measured"
    ):
        evaluate.target(folder, ["evaluation.suite=none"])


def test_what_is_neither_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path} can not be measured") as caught:
        evaluate.target(tmp_path, [])
    assert "no checkpoint (none of *.safetensors, *.bin, *.pth)" in str(caught.value)


def test_what_is_in_a_bucket_is_not_measured_there() -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket/runs/tiny can not be measured where it is"):
        evaluate.target(parse_path("s3://bucket/runs/tiny"), [])


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_task_does_not_go_on_with_another_image_decoder(tmp_path: Path, kind: str) -> None:
    """Which draws what the checkpoint's codes mean, and lies elsewhere."""
    folder, decoder = weights(tmp_path / "checkpoint"), tmp_path / "vqgan.ckpt"
    file = weights(decoder) / "model.safetensors" if kind == "folder" else decoder
    settings = ("policy.family=chameleon", f"policy.decoder={decoder}")

    def begin() -> None:
        evaluate_task.ready("unicycle-tiny", folder, settings, 4, str(tmp_path / "evaluation"))

    file.write_bytes(b"one")
    begin()
    begin()
    file.write_bytes(b"other")
    with pytest.raises(EvaluationError, match="holds another evaluation: weights is"):
        begin()


def test_a_task_does_not_go_on_with_other_options_of_the_family(tmp_path: Path) -> None:
    folder = weights(tmp_path / "checkpoint")

    def begin(positions: int) -> None:
        settings = ("policy.family=showo", f"policy.positions={positions}")
        evaluate_task.ready("unicycle-tiny", folder, settings, 4, str(tmp_path / "evaluation"))

    begin(512)
    begin(512)
    with pytest.raises(EvaluationError, match="holds another evaluation: options is"):
        begin(1024)
