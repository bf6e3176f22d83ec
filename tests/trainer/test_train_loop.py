"""Training goes on from anywhere with the same bits; and once for real, on Ray Train."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from actors.config import ActorsConfig, JudgeConfig
from actors.hygiene.config import HygieneConfig
from actors.replay.buffer import ReplayBufferActor
from actors.replay.records import JudgedGroup
from actors.roles.templates import load_templates
from actors.weights.digests import weights_digest
from actors.weights.store import WeightStoreActor
from policies.checks import weight_views
from policies.config import TinyPolicyConfig, changed
from policies.interface import CheckpointError
from tests.trainer.small import TRAINER, group, meeting_place, save_small_policy, small_policy
from trainer import checkpoint
from trainer.checkpoint import Cursor
from trainer.config import RunConfig
from trainer.journal import JOURNAL
from trainer.learner import Learner, TrainingDiverged
from trainer.selfplay import learn_round
from trainer.sharded import begin_with
from trainer.train_loop import make_trainer, stop_training
from trainer.training import CHECKPOINTS, Training
from trainer.training_io import StopRequested

CONFIG = RunConfig(
    name="small", rounds=2, judge=JudgeConfig(accept_at=7.0), trainer=changed(TRAINER, epochs=2)
)
ROUNDS = {
    r: [group(i, round_=r, reason="best score 3" if i % 5 == 4 else "") for i in range(11)]
    for r in (1, 2)
}


class Killed(BaseException):
    """The process dies here: nothing after it happens."""


class TrainingIO:
    """The rest of the run within this process; dies or stops at the moment it is told to."""

    def __init__(
        self,
        rounds: Mapping[int, list[JudgedGroup]] = ROUNDS,
        moment: int = 10**9,
        death: type[BaseException] = Killed,
    ) -> None:
        self.rounds, self.moment, self.death = rounds, moment, death
        self.published: dict[int, str] = {}
        self.kept: dict[int, Mapping[str, np.ndarray]] = {0: small_policy().weights()}
        self.moments = 0

    def _pass(self) -> None:
        self.moments += 1
        if self.moments == self.moment:
            raise self.death("the moment has come")

    def groups(self, round_: int) -> Iterator[JudgedGroup]:
        for one in self.rounds[round_]:
            if self.death is not StopRequested or one.accepted:
                self._pass()
            yield one

    def check_stop(self) -> None:
        if self.death is StopRequested:
            self._pass()

    def versions(self) -> list[int]:
        return sorted(self.published)

    def weights(self, version: int) -> Mapping[str, np.ndarray]:
        self._pass()
        return self.kept[version]

    def publish(self, version: int, weights: Mapping[str, np.ndarray]) -> None:
        if self.death is Killed:
            self._pass()
        assert self.published.get(version, weights_digest(weights)) == weights_digest(weights)
        self.published[version] = weights_digest(weights)
        self.kept[version] = weights

    def show(self, row: Mapping[str, Any]) -> None:
        if self.death is Killed:
            self._pass()

    def diverged(self) -> None:
        raise AssertionError("these lessons are harmless")

    def finished(self, version: int, row: Mapping[str, Any]) -> None:
        assert row.get("round", version) == version  # {} where no step was left


def train(folder: Path, io: TrainingIO, config: RunConfig = CONFIG) -> Learner:
    learner = Learner(small_policy(), config.trainer)
    Training(config, folder, learner, load_templates("tiny"), io).run(learn_round)
    return learner


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in lines]


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """The digests of the versions and the journal of a run that nothing disturbs."""
    folder, io = tmp_path_factory.mktemp("peace"), TrainingIO()
    train(folder, io)
    return io.published, rows(folder)


def test_a_run_in_peace_learns_every_epoch_of_every_round(peace) -> None:
    published, journal = peace
    assert list(published) == [1, 2] and len(set(published.values())) == 2
    # Nine accepted groups of a round are three steps of an epoch.
    expected = [(r, e, i) for r in (1, 2) for e in (1, 2) for i in (1, 2, 3)]
    assert [(row["round"], row["epoch"], row["index"]) for row in journal] == expected
    assert [row["step"] for row in journal] == list(range(1, 13))
    assert journal[-1]["losses"]["caption"] < journal[0]["losses"]["caption"]


def test_winners_that_repeat_an_earlier_one_are_learned_from_as_if_they_were_not_there(
    tmp_path: Path,
) -> None:
    own = changed(CONFIG.judge, hygiene=HygieneConfig(duplicate_bits=2))
    config = changed(CONFIG, judge=own, rounds=1, trainer=changed(CONFIG.trainer, epochs=1))
    every = ("00" * 14, "ff" * 14, "01" + "00" * 13, "0f" + "00" * 13)
    seen = [replace(g, rollouts=tuple(replace(r, looks=every[i % 4]) for r in g.rollouts))
            for i, g in enumerate(ROUNDS[1])]  # fmt: skip
    kept = [seen[i] for i in (0, 1, 3)]  # 2 is near 0, and all others repeat the first four
    all_of_them, those = TrainingIO({1: seen}), TrainingIO({1: kept})
    train(tmp_path / "all", all_of_them, config)
    train(tmp_path / "kept", those, config)
    assert all_of_them.published == those.published
    assert len(rows(tmp_path / "all")) == 1


@pytest.mark.parametrize("death", [Killed, pytest.param(StopRequested, marks=pytest.mark.slow)])
def test_a_run_killed_or_stopped_at_any_moment_ends_the_same(death, peace, tmp_path) -> None:
    """The weight store lives on in one half of the cases, and dies with the run in the other."""
    counting = TrainingIO(death=death)
    train(tmp_path / "count", counting)
    assert counting.moments > 20
    for moment in range(1, counting.moments + 1, 5):
        folder, first = tmp_path / str(moment), TrainingIO(moment=moment, death=death)
        try:
            train(folder, first)
        except Killed:
            assert death is Killed
        second = TrainingIO(death=death)
        if moment % 2:
            second.published = first.published
        train(folder, second)
        assert {**first.published, **second.published} == peace[0], moment
        assert rows(folder) == peace[1], moment


def test_a_store_that_lost_everything_gets_the_last_versions_again(peace, tmp_path) -> None:
    train(tmp_path, TrainingIO())
    empty = TrainingIO()
    train(tmp_path, empty)
    assert empty.published == peace[0]


def test_a_round_with_nothing_accepted_publishes_the_weights_it_began_with(tmp_path) -> None:
    poor = [group(i, round_=2, reason="best score 3") for i in range(3)]
    io = TrainingIO({1: ROUNDS[1], 2: poor})
    train(tmp_path, io)
    assert list(io.published) == [1, 2]
    assert io.published[1] == io.published[2]


def test_a_step_that_diverged_is_told_once_and_nothing_is_learned_from_it(tmp_path) -> None:
    io, told = TrainingIO(), list[bool]()
    io.diverged = lambda: told.append(True)  # type: ignore[method-assign]
    learner = Learner(small_policy(), CONFIG.trainer)
    with torch.no_grad():
        list(learner.params.values())[-1][0, 0] = float("inf")
    with pytest.raises(TrainingDiverged):
        Training(CONFIG, tmp_path, learner, load_templates("tiny"), io).run(learn_round)
    assert told == [True] and not (tmp_path / JOURNAL).exists()


BACK = changed(CONFIG, rounds=3, trainer=changed(CONFIG.trainer, step_back=5))


def drawn_by(version: int, round_: int) -> list[JudgedGroup]:
    """The groups of a round that this version sampled."""
    return [replace(each, round=round_, weight_version=version) for each in ROUNDS[2]]


def test_a_round_goes_on_from_the_version_that_sampled_it(tmp_path) -> None:
    """Nothing of the one that was left is in what comes of it, but the count of steps."""
    rounds = {1: ROUNDS[1], 2: drawn_by(1, 2), 3: drawn_by(1, 3)}
    io = TrainingIO(rounds)
    train(tmp_path / "back", io, BACK)
    fresh = TrainingIO({1: [], 2: drawn_by(0, 2), 3: drawn_by(1, 3)})
    fresh.kept[1] = io.kept[1]
    short = changed(BACK, trainer=changed(BACK.trainer, warmup_steps=0))
    learner = Learner(small_policy(), short.trainer)
    begin_with(learner.state(), weight_views(io.kept[1], learner.params))
    training = Training(short, tmp_path / "fresh", learner, load_templates("tiny"), fresh)
    training.cursor = Cursor(3, version=1)
    learner.steps = 12
    learn_round(training, 3)
    assert fresh.published[3] == io.published[3] != io.published[2]
    assert len({io.published[version] for version in (1, 2, 3)}) == 3
    forward = TrainingIO({**rounds, 3: drawn_by(2, 3)})
    train(tmp_path / "forward", forward, BACK)
    assert forward.published[2] == io.published[2] and forward.published[3] != io.published[3]
    events = (tmp_path / "back" / "events.jsonl").read_text()
    assert events.count("stepped back") == 1 and not (tmp_path / "forward/events.jsonl").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_when_it_steps_back_ends_the_same(tmp_path) -> None:
    rounds = {1: ROUNDS[1], 2: drawn_by(1, 2), 3: drawn_by(1, 3)}
    peace = TrainingIO(rounds)
    train(tmp_path / "peace", peace, BACK)
    counting = TrainingIO({1: ROUNDS[1], 2: drawn_by(1, 2), 3: []})
    train(tmp_path / "count", counting, BACK)
    # Before the step back, in it, and in the steps after it.
    for moment in (counting.moments + more for more in (0, 1, 4)):
        folder, first = tmp_path / str(moment), TrainingIO(rounds, moment=moment)
        with pytest.raises(Killed):
            train(folder, first, BACK)
        second = TrainingIO(rounds)
        second.published, second.kept = first.published, first.kept
        train(folder, second, BACK)
        assert second.published == peace.published, moment
        assert rows(folder) == rows(tmp_path / "peace"), moment


def test_publishing_the_model_gives_other_weights_than_the_average(peace, tmp_path) -> None:
    config = changed(CONFIG, trainer=changed(CONFIG.trainer, publish="model"))
    io = TrainingIO()
    learner = train(tmp_path, io, config)
    assert io.published[2] == weights_digest(learner.weights("model")) != peace[0][2]


def test_other_settings_are_refused_and_operational_ones_are_not(tmp_path) -> None:
    train(tmp_path, TrainingIO(), changed(CONFIG, rounds=1))
    slower = changed(CONFIG, trainer=changed(CONFIG.trainer, lr=1e-5))
    with pytest.raises(CheckpointError, match=r"made with trainer\.lr 0\.001, now it is 1e-05"):
        train(tmp_path, TrainingIO(), slower)
    longer = changed(CONFIG, trainer=changed(CONFIG.trainer, checkpoint_every=7, workers=3))
    io = TrainingIO()
    train(tmp_path, io, longer)
    assert list(io.published) == [1, 2]


def test_a_journal_torn_by_a_kill_is_mended(peace, tmp_path) -> None:
    with pytest.raises(Killed):
        train(tmp_path, TrainingIO(moment=20))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"step": 99, "los')
    train(tmp_path, TrainingIO())
    assert rows(tmp_path) == peace[1]


# Two ranks, first without Ray and then on Ray Train


def rank_main(rank: int, place: str, folder: str) -> None:
    """Only rank 1 hears that training shall stop, and then it goes on; rank 0 writes down what
    was published."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    stopped = TrainingIO(moment=4 if rank == 1 else 10**9, death=StopRequested)
    train(Path(folder), stopped)
    assert stopped.published == {}
    last = TrainingIO(death=StopRequested)
    train(Path(folder), last)
    if rank == 0:
        (Path(folder) / "published.json").write_text(json.dumps(last.published))
    dist.destroy_process_group()


@pytest.fixture
def published_without_ray(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(rank_main, args=(meeting_place(), str(folder)), nprocs=2)
    published = json.loads((folder / "published.json").read_text())
    return {int(version): stated for version, stated in published.items()}


def wait_until(true: Callable[[], Any], what: str, deadline: float = 240.0) -> None:
    end = time.monotonic() + deadline
    while not true():
        assert time.monotonic() < end, f"waited {deadline} s for {what}"
        time.sleep(0.1)


def worker_pids() -> list[int]:
    """The living workers of the Ray Train run."""
    from ray._private.state import actors

    return [one["Pid"] for one in actors().values()
            if one["State"] == "ALIVE" and one["ActorClassName"] == "RayTrainWorker"]  # fmt: skip


def test_ranks_wait_for_one_another_as_long_as_a_disk_may_be_full(ray_cluster, tmp_path) -> None:
    for pause in (1.0, 86400.0, 1e9):
        config = changed(CONFIG, actors=ActorsConfig(pause_deadline=pause))
        seconds = make_trainer(config, learn_round, tmp_path, "nobody").backend_config.timeout_s
        assert seconds > pause or timedelta(seconds=seconds) > timedelta(days=1000)


@pytest.mark.slow
def test_on_ray_a_killed_worker_changes_no_bit_and_training_stops_when_asked(
    ray_cluster, published_without_ray, tmp_path
) -> None:
    import ray

    place = {"namespace": "unicorn-test-train-loop"}
    store = WeightStoreActor.options(name="weight_store", **place).remote(3)
    replay = ReplayBufferActor.options(name="replay_buffer", **place).remote(str(tmp_path / "log"))
    policy = TinyPolicyConfig(path=save_small_policy(tmp_path / "policy"))
    config = changed(CONFIG, policy=policy, rounds=3)

    trainer = make_trainer(config, learn_round, tmp_path, place["namespace"], data_deadline=240.0)
    fit = threading.Thread(target=trainer.fit)
    fit.start()
    slices = [ROUNDS[1][start : start + 4] for start in (0, 4, 8)]
    for index in (1, 0):  # as replicas finish, not in order
        ray.get(replay.append.remote(1, index, slices[index]))
    wait_until((tmp_path / JOURNAL).exists, "the first step")
    os.kill(worker_pids()[-1], signal.SIGKILL)
    ray.get(replay.append.remote(1, 2, slices[2]))
    ray.get(replay.close_round.remote(1, 3))
    for round_, groups in (1, None), (2, ROUNDS[2]):
        if groups is not None:
            ray.get(replay.append.remote(round_, 0, groups))
            ray.get(replay.close_round.remote(round_, 1))
        wait_until(lambda: round_ in ray.get(store.versions.remote()), f"v{round_}")  # noqa: B023
        refs, stated = ray.get(store.get.remote(round_))
        assert stated == weights_digest(ray.get(refs[0])) == published_without_ray[round_]
    stop_training(trainer, "the test has seen enough")
    fit.join(60)
    assert not fit.is_alive(), "waited 60 s for training to stop"
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 13))
    found = checkpoint.latest(tmp_path / CHECKPOINTS)
    assert found is not None and found.cursor == Cursor(3, 1, 0, 12, 2)
    for actor in (store, replay):
        ray.kill(actor)
