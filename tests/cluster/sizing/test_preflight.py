from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from actors.config import ActorsConfig, ProposerConfig
from actors.hygiene.config import HygieneConfig
from actors.roles.templates import DATA
from cluster.sizing import preflight
from cluster.sizing.needs import Machine, Need, needs, waiting
from policies.config import ConfigError, changed
from policies.registry import checkpoint_folder, footprint
from trainer.config import ConditionDropout, ReconstructionConfig, RunConfig

PLENTY = 10**15


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(3 * preflight.MIB))
    return folder


def check(run: RunConfig, cpus: float, free: int, checkpoint: Path, gpus: float = 0) -> None:
    preflight.check(run, Machine(cpus, gpus), free, checkpoint)


def config(**solver: float) -> RunConfig:
    run = RunConfig()
    return changed(run, solver=changed(run.solver, **solver))


def test_what_waits_or_stores_asks_for_no_cpu() -> None:
    found = {need.actor: need for need in needs(RunConfig())}
    for actor in ("weight store", "replay buffer", "trainer controller"):
        assert found[actor].cpus == found[actor].gpus == 0
    assert found["solver"] == ("solver", 2, 0.4, 0.0, False, "")
    assert found["trainer worker"].together


def test_a_need_that_just_fits_is_enough_in_spite_of_binary_fractions(checkpoint: Path) -> None:
    run = config(replicas=3, cpus=0.1)  # 0.2 + 3 x 0.1 + 0.4 + 2 x 0.4
    check(run, 1.7, PLENTY, checkpoint)
    with pytest.raises(ConfigError):
        check(run, 1.6999, PLENTY, checkpoint)


def test_too_few_cpus_name_every_actor_and_who_would_wait(checkpoint: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(config(replicas=5, cpus=0.5), 2, PLENTY, checkpoint)
    assert str(caught.value) == (
        "run tiny asks for 3.9 CPUs and this machine has 2: proposer 1 x 0.2, solver 5 x 0.5, "
        "judge 1 x 0.4, trainer worker 2 x 0.4; 2 of 5 solvers and the judge and 2 of 2 trainer "
        "workers would wait for ever; lower proposer.cpus, solver.cpus, judge.cpus or trainer.cpus "
        "(fractions are fine), or the numbers of replicas"
    )


def test_measuring_needs_no_trainer(checkpoint: Path) -> None:
    run = config(replicas=3, cpus=0.1)  # 0.2 + 3 x 0.1 + 0.4
    preflight.check_measuring(run, Machine(0.9, 0), checkpoint)
    with pytest.raises(ConfigError, match=r"lower proposer.cpus, solver.cpus or judge.cpus \("):
        preflight.check_measuring(run, Machine(0.8, 0), checkpoint)


def test_the_trainers_workers_wait_together(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"; 2 of 2 trainer workers would wait"):
        check(config(replicas=1), 1.5, PLENTY, checkpoint)


def test_a_full_disk_is_refused_with_the_estimate(checkpoint: Path) -> None:
    run, size = RunConfig(), footprint(RunConfig().policy)
    versions, checkpoints = 5 * 4 * size.parameters, 5 * 4 * 4 * size.trained
    need = 5 * 320 * 8 * 8192 + versions + checkpoints + 16 * preflight.MIB
    check(run, 4, need, checkpoint)
    with pytest.raises(ConfigError) as caught:
        check(run, 4, need - 1, checkpoint)
    said = str(caught.value)
    assert said.startswith("runs/tiny needs up to 292 MiB and its disk has 292 MiB for it: ")
    assert "replay 100 MiB (5 rounds x 320 prompts x 8 drawings x 8 KiB)" in said
    assert "versions 45 MiB (5 x 9 MiB of weights)" in said
    assert "checkpoints 131 MiB (5 x 4 x what is trained)" in said
    assert "report 16 MiB" in said
    assert "folder=..." in said


def test_a_drawing_never_takes_more_than_was_estimated() -> None:
    import io

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(noise).save(png, "png")
    codes_and_text = 36 * 4 + 512
    assert len(png.getvalue()) + codes_and_text <= footprint(RunConfig().policy).drawing_bytes


def test_what_a_run_holds_already_counts_as_room(tmp_path: Path) -> None:
    held = tmp_path / "run" / "replay"
    held.mkdir(parents=True)
    empty = preflight.room(tmp_path / "run")
    (held / "slice.parquet").write_bytes(bytes(64 * preflight.MIB))
    # Others write to the same disk while this test runs.
    assert abs(preflight.room(tmp_path / "run") - empty) < 48 * preflight.MIB
    assert preflight.room(tmp_path / "not" / "yet") > 0


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    policy = changed(RunConfig().policy, path=str(tmp_path))
    assert checkpoint_folder(policy) == tmp_path
    with pytest.raises(ConfigError, match=str(tmp_path)):
        check(changed(RunConfig(), policy=policy), 4, PLENTY, tmp_path)


def test_templates_and_a_suite_that_are_not_there_are_named(checkpoint: Path) -> None:
    run = RunConfig()
    actors = changed(run.actors, templates="tinny")
    evaluation = changed(run.evaluation, suite="tiny_word")
    for wrong, said in (
        (changed(run, actors=actors), "actors.templates is 'tinny'"),
        (changed(run, evaluation=evaluation), "evaluation.suite is 'tiny_word'"),
    ):
        with pytest.raises(ConfigError, match=said):
            check(wrong, 4, PLENTY, checkpoint)


def test_the_smallest_and_the_largest_numbers_are_counted(checkpoint: Path) -> None:
    for replicas, cpus in ((2**63 - 1, 1e9), (2**63 - 1, 1e-4)):
        run = changed(config(replicas=replicas, cpus=cpus), rounds=2**63 - 1)
        with pytest.raises(ConfigError, match="would wait for ever"):
            check(run, 2, PLENTY, checkpoint)
        with pytest.raises(ConfigError, match="needs up to"):
            check(run, float("inf"), PLENTY, checkpoint)


def test_a_folder_that_no_disk_can_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be looked at \(File name too long\)"):
        preflight.room(tmp_path / ("a" * 300))


def test_base_is_the_checkpoint_that_ships_with_the_family() -> None:
    folder = checkpoint_folder(RunConfig().policy)
    assert folder.parts[-3:] == ("policies", "tiny", "base")
    assert list(folder.glob("*.safetensors"))


def test_this_machine_has_a_processor() -> None:
    assert preflight.this_machine().cpus >= 1


def test_a_role_of_the_tiny_family_is_refused_a_gpu_and_another_dtype(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"^solver\.gpus is 0\.5: family tiny samples on CPU only: set "
                       r"solver\.gpus to 0$"):  # fmt: skip
        check(config(gpus=0.5), 4, PLENTY, checkpoint, gpus=8)
    with pytest.raises(
        ConfigError, match=r"^policy\.dtype is 'bfloat16': it must be \"float32\" for family tiny$"
    ):
        changed(RunConfig().policy, dtype="bfloat16")


def test_too_few_gpus_name_every_actor_and_who_would_wait(checkpoint: Path) -> None:
    run = RunConfig()
    run = changed(run, trainer=changed(run.trainer, gpus=1))
    check(run, 4, PLENTY, checkpoint, gpus=2)
    with pytest.raises(ConfigError) as caught:
        check(run, 4, PLENTY, checkpoint, gpus=1)
    assert str(caught.value) == (
        "run tiny asks for 2 GPUs and this machine has 1: trainer worker 2 x 1; 2 of 2 trainer "
        "workers would wait for ever; lower trainer.gpus (a fraction shares one, 0 is the host), or "
        "the numbers of replicas"
    )


@pytest.mark.parametrize(
    ("asked", "gpus", "late"),
    [
        ([(2, 0.5)], 1, ""),
        ([(3, 0.6)], 2, "1 of 3 as"),  # 1.8 in all, but a part lies on one GPU
        ([(1, 0.25), (3, 1), (3, 0.75), (2, 1)], 8, ""),  # 0.75 goes beside 0.25
        ([(1, 0.25), (3, 1), (3, 0.8), (2, 1)], 8, "1 of 2 ds"),
        ([(10, 0.1)], 1, ""),
    ],
)
def test_a_part_of_a_gpu_lies_on_one_gpu(
    asked: list[tuple[int, float]], gpus: float, late: str
) -> None:
    wanted = [Need("abcd"[i], replicas, 1.0, each) for i, (replicas, each) in enumerate(asked)]
    assert waiting(wanted, "gpus", gpus) == late


def test_adapters_are_refused_where_a_family_has_none(checkpoint: Path) -> None:
    run = RunConfig()
    run = changed(run, trainer=changed(run.trainer, lora_rank=8))
    with pytest.raises(ConfigError, match=r"^trainer\.lora_rank is 8: family tiny has no adapters"):
        check(run, 4, PLENTY, checkpoint)


def test_what_a_family_cannot_do_is_refused_before_anything_starts(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"solver\.steps is 9: drawing by family tiny knows only"):
        check(config(steps=9), 4, PLENTY, checkpoint)
    mix = ReconstructionConfig(condition_dropout=ConditionDropout(text=0.1, features=0.3))
    with pytest.raises(ConfigError, match=r"condition_dropout\.features is 0\.3: family tiny can"):
        check(changed(RunConfig(), reconstruction=mix), 4, PLENTY, checkpoint)


def test_files_from_outside_are_read_before_anything_starts(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_text('{"persona": "a baker"}\n{"person": "b"}\n')
    own = {"personas": str(tmp_path / "p.jsonl")}
    run = changed(RunConfig(), proposer=ProposerConfig(**own))
    with pytest.raises(ConfigError, match=r"p\.jsonl, line 2: persona is None: it must be a text"):
        check(run, 8, PLENTY, checkpoint)
    (tmp_path / "p.jsonl").write_text('{"persona": "a baker"}\n')
    with pytest.raises(ConfigError, match=r"templates 'tiny' have no place for a persona: use oth"):
        check(run, 8, PLENTY, checkpoint)
    check(changed(run, actors=ActorsConfig(templates="json")), 8, PLENTY, checkpoint)


def test_a_filter_without_its_model_is_refused_before_anything_starts(checkpoint: Path) -> None:
    run = RunConfig()
    own = HygieneConfig(clip="nowhere", clip_from=0.2)
    with pytest.raises(ConfigError, match=r"^judge.hygiene.clip is 'nowhere', where there is no"):
        check(changed(run, judge=changed(run.judge, hygiene=own)), 8, PLENTY, checkpoint)


def test_templates_without_a_repair_are_refused_where_it_is_needed(
    checkpoint: Path, tmp_path: Path
) -> None:
    own = yaml.safe_load((DATA / "templates" / "tiny.yaml").read_text())
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in own.items() if k != "repair"}))
    run = changed(RunConfig(), actors=ActorsConfig(templates=str(file)))
    check(run, 8, PLENTY, checkpoint)
    plain = ReconstructionConfig(reflection_judgement=False)
    check(RunConfig(reconstruction=plain), 8, PLENTY, checkpoint)
    with pytest.raises(ConfigError, match=r"reflection_judgement is False: .* lack the instructi"):
        check(changed(run, reconstruction=plain), 8, PLENTY, checkpoint)
    infer = RunConfig(reconstruction=ReconstructionConfig(caption_wording="infer"))
    with pytest.raises(
        ConfigError, match=r"caption_wording is 'infer': .* lack the instruction in"
    ):
        check(infer, 8, PLENTY, checkpoint)
