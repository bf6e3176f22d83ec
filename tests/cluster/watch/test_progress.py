from __future__ import annotations

import io
from pathlib import Path

import pytest

from cluster.watch.progress import Progress, duration
from trainer.config import RunConfig


class Watched:
    """A Progress with a clock that a test turns and a stream that it reads."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stream = io.StringIO()
        self.progress = Progress(self.stream, lambda: self.now, every=5.0)
        self.progress.started(RunConfig(rounds=3))
        self.lines()

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def lines(self) -> list[str]:
        text = self.stream.getvalue()
        assert "\r" not in text and (not text or text.endswith("\n"))
        self.stream.seek(0)
        self.stream.truncate()
        return text.splitlines()


@pytest.fixture
def run() -> Watched:
    return Watched()


def test_the_first_line_says_what_will_be_done() -> None:
    stream = io.StringIO()
    Progress(stream, lambda: 0.0).started(RunConfig())
    assert stream.getvalue() == (
        "[    0s] run tiny | 5 rounds of 320 prompts x 8 drawings | lag 0 | seed 0 | in runs/tiny\n"
    )


def test_sampling_has_counts_a_rate_and_the_share_accepted(run: Watched) -> None:
    run.progress.sampling(2, 0, 320, 0)
    run.wait(10)
    run.progress.sampling(2, 192, 320, 1430, accepted=156)
    assert run.lines() == [
        "[    0s] round 2/3 | drawn 0/320 prompts",
        "[   10s] round 2/3 | drawn 192/320 prompts | 143 images/s | accepted 81%",
    ]


def test_a_resumed_round_counts_only_its_own_images_in_the_rate(run: Watched) -> None:
    run.progress.sampling(1, 160, 320, 1280)
    run.wait(10)
    run.progress.sampling(1, 176, 320, 1408)
    assert run.lines()[1] == "[   10s] round 1/3 | drawn 176/320 prompts | 13 images/s"


def test_lines_are_seconds_apart_but_an_end_is_never_lost(run: Watched) -> None:
    for done in range(101):
        run.wait(0.1)
        run.progress.sampling(1, done, 100, done * 8)
        run.progress.sampling(1, done, 100, done * 8)
        run.progress.training(1, done, 100, 1.0)
    lines = run.lines()
    assert len([line for line in lines if "drawn" in line]) == 3  # at 0, 5 and the end
    assert len([line for line in lines if "trained" in line]) == 3
    assert any("drawn 100/100" in line for line in lines)
    assert any("trained 100/100 steps | loss 1.000" in line for line in lines)


def test_scores_stand_beside_those_of_the_base(run: Watched) -> None:
    base = {"drawing/all_right": 41.0, "judge/auroc": 0.8, "drawing/all_right/counting": 0.1}
    run.progress.measured(0, base)
    assert run.lines() == [
        "[    0s] base | scores of weights v0",
        "         score                    v0",
        "         drawing/all_right     41.00",
        "         judge/auroc            0.80",
    ]
    run.wait(100)
    run.progress.measured(1, {"drawing/all_right": 52.0, "diversity": 0.3})
    assert run.lines() == [
        "[ 1m40s] round 1/3 done | scores of weights v1",
        "         score                  base        v1    change",
        "         drawing/all_right     41.00     52.00    +11.00",
        "         diversity                        0.30",
    ]


def test_a_round_that_nothing_measures_ends_in_one_line(run: Watched) -> None:
    run.progress.measured(1, {})
    assert run.lines() == ["[    0s] round 1/3 done | nothing is measured"]


def test_the_time_left_comes_from_the_rounds_measured_here(run: Watched) -> None:
    run.wait(50)  # start-up is no part of a round
    run.progress.measured(0, {})
    run.progress.sampling(1, 0, 10, 0)
    run.wait(90)
    run.progress.sampling(1, 10, 10, 80)
    assert not any("left" in line for line in run.lines())
    run.wait(10)
    run.progress.measured(1, {})
    assert run.lines()[0] == "[ 2m30s] round 1/3 done | nothing is measured | 3m20s left"
    run.wait(30)
    run.progress.training(2, 3, 64, 2.0)
    assert run.lines() == ["[ 3m00s] round 2/3 | trained 3/64 steps | loss 2.000 | 2m50s left"]
    run.wait(500)
    run.progress.training(2, 9, 64, 2.0)
    assert run.lines()[0].endswith("| 0s left")
    run.progress.measured(2, {})
    run.progress.sampling(3, 10, 10, 80)
    run.progress.measured(3, {})
    assert "left" not in run.lines()[-1]


def test_rounds_that_were_done_before_a_resume_do_not_count_as_fast(run: Watched) -> None:
    for version in (0, 1):
        run.progress.sampling(1, 10, 10, 80)
        run.progress.measured(version, {})
    assert not any("left" in line for line in run.lines())


def test_the_last_line_names_the_report(run: Watched) -> None:
    run.wait(7265)
    run.progress.finished(Path("runs/tiny/report.html"))
    assert run.lines() == ["[ 2h01m] finished | report runs/tiny/report.html"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (200, "3m20s"), (3600, "1h00m"), (7500, "2h05m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
