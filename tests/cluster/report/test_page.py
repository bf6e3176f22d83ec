"""The report: one safe, self-contained page from the run folder alone, at any time of a run."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.replay.buffer import ReplayBuffer
from actors.replay.records import Proposal, Task, undone
from actors.storage import events
from cluster.recipes import recipe
from cluster.report import charts, view
from cluster.report import page as report
from cluster.report.data import read_run, spread
from cluster.report.groups import card
from evaluation.kept import version_file
from evaluation.metrics import append_metrics
from evaluation.paired import interval
from policies.config import ConfigError, changed
from policies.interface import PATTERNS, Picture, learned
from tests.cluster.report import synthetic_run as synthetic
from trainer.config import RunConfig

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects what a page refers to, and that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> RunConfig:
    base = synthetic.small_config(tmp_path_factory.mktemp("runs"), rounds=3)
    return changed(base, proposer=changed(base.proposer, prompts=12),
                   solver=changed(base.solver, rollouts=4))  # fmt: skip


@pytest.fixture(scope="module")
def folder(config: RunConfig) -> Path:
    """Two versions, a complete round, and a round in progress with a prompt that means harm."""
    folder = synthetic.build(config, measured=1, closed=1)
    first, *others = synthetic.groups(config, 2)[:3]
    harm = replace(first, prompt='<script>alert("x")</script>', category="counting",
                   subcategory="<i>", reason="")  # fmt: skip
    ReplayBuffer(folder / "replay").append(2, 0, [harm, *others])
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(report.write(folder).read_text())


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_version_that_was_not_measured_is_left_out(tmp_path: Path, version: int) -> None:
    folder = synthetic.build(synthetic.small_config(tmp_path, rounds=2), 2, 2)
    version_file(folder, version).unlink()
    text = Page(report.write(folder).read_text()).text
    assert ("The base model drew" in text) == (version != 0)
    assert f"measured v{1 if version == 2 else 2} of v2" in text


def test_the_page_is_whole_and_refers_to_nothing_outside(page, folder):
    assert page.open == []
    assert page.addresses and all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?:", (folder / report.FILE).read_text())
    assert (folder / report.FILE).stat().st_size < 5_000_000


def test_texts_are_escaped(page, folder):
    assert '<script>alert("x")</script>' in page.text
    assert "<script" not in (folder / report.FILE).read_text()


def test_the_headline_goes_from_base_to_last(page, folder):
    values = {v: each["values"]["drawing/all_right"]
              for v, each in read_run(folder).evaluations.items()}  # fmt: skip
    assert f"The base model drew {values[0]:.1f} % of the held-out prompts all right" in page.text
    assert "After 1 round of teaching itself, from 12 prompts of its own" in page.text
    assert f"it is {values[1]:.1f} %" in page.text


def test_a_gain_at_a_fixed_temperature_is_named_as_such(page):
    assert re.search(
        r"it is [\d.]+ %: [+-][\d.]+ ± [\d.]+ points, all at temperature 1\.", page.text
    )
    assert "At which setting?" not in page.text


def test_the_gain_between_best_settings_comes_first_and_sharpening_is_told(tmp_path: Path) -> None:
    config = synthetic.small_config(tmp_path, rounds=2)
    folder = synthetic.build(config, measured=2, closed=2)
    for version in (0, 2):
        synthetic.add_best(folder, config, version)
    run, text = read_run(folder), Page(report.write(folder).read_text()).text
    best, fixed = ([each[v]["values"]["drawing/all_right"] for v in (0, 2)]
                   for each in (run.best, run.evaluations))  # fmt: skip
    assert 0 < best[1] - best[0] < (fixed[1] - fixed[0]) / 2
    first = text.index(f"The base model drew {best[0]:.1f} % of the held-out prompts all right")
    then = text.index(f"it is {best[1]:.1f} %: {best[1] - best[0]:+.1f} ±")
    last = text.index(
        f"At the fixed temperature 1 it goes from {fixed[0]:.1f} % to {fixed[1]:.1f} %"
    )
    assert first < then < last
    assert "most of that gain is sharpening" in text
    assert "drawings all right, best setting" in text
    assert "drawings all right, temperature 1" in text
    assert "temperature v0 v2 1 15.0 % (5 to 36) 15.0 % (5 to 36)" in text
    assert "0 50.0 % (30 to 70) ✓ 50.0 % (30 to 70)" in text


def test_what_was_measured_at_its_best_is_a_curve_with_intervals(tmp_path: Path) -> None:
    config = synthetic.small_config(tmp_path, rounds=2)
    folder = synthetic.build(config, measured=2, closed=0)
    synthetic.add_best(folder, config, 0)
    assert "At the best setting" not in Page(report.write(folder).read_text()).text
    for version in (1, 2):
        synthetic.add_best(folder, config, version)
    run, html = read_run(folder), report.write(folder).read_text()
    assert "At the best setting" in Page(html).text
    assert "temperature v0 v1 v2" in Page(html).text
    (plot,) = view.at_best(run)
    assert plot.names == ("all right", "captions", "questions")
    # Three versions, each with a bar for each of the three.
    bars = re.findall(r"whiskers\">(.*?)</g>", str(plot.chart))
    assert [bar.count("<polyline") for bar in bars] == [3, 3, 3]
    low, high = (100 * end for end in interval(9.0, 10))
    assert view._curve(run.evaluations, "understanding/captions")[0] == (0, 90.0, low, high)


def test_a_chart_has_room_for_its_intervals() -> None:
    for span in ((0, 4.0, 96.0), (0, 49.0, 51.0)):
        chart = str(charts.lines({"a": [(0, 50.0)]}, "x", "y", 100.0, {"a": [span]}))
        (bar,) = re.findall(r'whiskers"><polyline points="(.*?)"', chart)
        heights = [float(end.split(",")[1]) for end in bar.split()]
        assert charts.TOP <= min(heights) < max(heights) <= charts.HEIGHT - charts.BOTTOM


def test_pass_at_k_is_told_beside_pass_at_one_with_what_became_possible(tmp_path: Path) -> None:
    config = synthetic.small_config(tmp_path, rounds=2)
    folder = synthetic.build(config, measured=2, closed=0)
    synthetic.add_passes(folder, config, 0)
    assert "pass@3" not in Page(report.write(folder).read_text()).text
    synthetic.add_passes(folder, config, 2)
    run, text = read_run(folder), Page(report.write(folder).read_text()).text
    was, now = ([any((i % 3 == 0, i % 5 <= v)) for i in range(40)] for v in (0, 2))
    won = sum(b > a for a, b in zip(was, now, strict=True))
    assert f"all right in one of 3 tries, pass@3 {100 * sum(now) / 40:.1f} %" in text
    assert f"from {100 * sum(was) / 40:.1f} %" in text and "all right in one try, pass@1" in text
    assert f"Of 40 held-out prompts v2 draws {won} right in some of 3 tries" in text and won > 5
    assert "and 0 in none that the base drew right in some" in text
    assert "temperature 0.5 for the base and 0.7 for v2" in text
    assert run.passes[2]["k"] == 3


@pytest.mark.parametrize("measured_best", [[0], [1], [0, 1]])
def test_until_both_ends_are_measured_at_their_best_the_fixed_one_is_told(
    tmp_path: Path, measured_best: list[int]
) -> None:
    config = synthetic.small_config(tmp_path, rounds=2)
    folder = synthetic.build(config, measured=2, closed=0)
    for version in measured_best:
        synthetic.add_best(folder, config, version)
    assert "all at temperature 1." in Page(report.write(folder).read_text()).text


def test_every_category_is_shown_before_and_after(page):
    for category in synthetic.CATEGORIES:
        assert category in page.text
    assert "10 more" in page.text


def test_records_can_be_traced(page, folder):
    for group in [shown.group for each in read_run(folder).rounds for shown in each.shown]:
        assert (
            f"round {group.round} · prompt {group.index} · drawn by v{group.weight_version} "
            f"· judged by v{group.judge_version} · prompt seed {group.prompt_seed}"
        ) in page.text
        assert all(f"seed {rollout.seed}" in page.text for rollout in group.rollouts)


def test_reasons_for_rejection_are_counted(page, folder):
    rounds = read_run(folder).rounds
    assert sum(each.rejected.total() for each in rounds) > 0
    assert "best score is under 7" in page.text


def test_the_same_run_gives_the_same_page(page, folder):
    before = (folder / report.FILE).read_bytes()
    assert report.write(folder).read_bytes() == before


def test_a_card_marks_the_winner_and_the_loser_of_the_reflection(folder):
    for each in read_run(folder).rounds:
        for shown in each.shown:
            made = card(shown.group, shown.examples, each.taught, synthetic.SUITE)
            winner = next(d for d in made.drawings if d.mark == "winner")
            assert winner.number == shown.group.ranked()[0] + 1
            losers = [d for d in made.drawings if d.mark == "loser"]
            assert len(losers) == ("reflection" in shown.examples)
            assert all(loser.score < winner.score for loser in losers)


def test_lessons_are_those_of_the_batches(folder):
    complete, begun = read_run(folder).rounds
    assert complete.taught is not None and begun.taught is None
    total = {p: sum(n for (_, q), n in complete.taught.items() if q == p) for p in PATTERNS}
    assert total["generation"] == total["caption"] == 2 * complete.accepted
    assert 0 < total["judgement"] < total["generation"]


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    folder = recipe.claim_folder(synthetic.small_config(tmp_path))
    page = Page(report.write(folder).read_text())
    assert "nothing has been measured yet" in page.text
    assert "No judged groups yet" in page.text


def test_a_run_with_only_the_base_measured_has_a_page(tmp_path):
    config = synthetic.small_config(tmp_path)
    folder = recipe.claim_folder(config)
    synthetic.add_version(folder, config, 0)
    append_metrics(folder, {"kind": "proposals", "round": 1, "proposals/kept": 3.0}, 1.0)
    page = Page(report.write(folder).read_text())
    assert "No later version has been measured yet" in page.text
    assert "weights v0, nothing to compare yet" in page.text


def test_a_run_without_a_suite_shows_its_rounds_and_no_oracle(tmp_path):
    base = synthetic.small_config(tmp_path)
    config = changed(base, evaluation=changed(base.evaluation, suite="none"))
    folder = recipe.claim_folder(config)
    for index, each in enumerate(synthetic.groups(config, 1)):
        ReplayBuffer(folder / "replay").append(1, index, [each])
    page = Page(report.write(folder).read_text())
    assert "what it draws is not measured" in page.text
    assert "drawing winner" in (folder / "report.html").read_text()
    assert not re.search(r"oracle \d", page.text)


def test_a_drawing_that_the_oracle_cannot_read_is_shown_as_not_right(tmp_path: Path) -> None:
    config = synthetic.small_config(tmp_path)
    folder = recipe.claim_folder(config)
    large = replace(synthetic.group(config, 1, 0), reason="")
    pixels = np.zeros((96, 64, 3), np.uint8)
    rollouts = tuple(replace(r, output=learned(Picture(pixels))) for r in large.rollouts)
    ReplayBuffer(folder / "replay").append(1, 0, [replace(large, rollouts=rollouts)])
    report.write(folder)
    assert "oracle 0" in (folder / "report.html").read_text()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a run folder"):
        report.write(tmp_path)


def test_a_bounded_choice_holds_the_first_and_the_last():
    assert spread(3, 6) == [0, 1, 2]
    assert spread(100, 6) == [0, 20, 40, 59, 79, 99]
    assert spread(0, 6) == []


@pytest.mark.parametrize("points", [[], [(0, 5.0)], [(0, 5.0), (1, 5.0)], [(0, -1e-9), (9, 1e9)]])
def test_a_chart_can_be_drawn_of_anything(points):
    chart = str(charts.lines({"a<b": points}, "x", "y"))
    assert "nan" not in chart and "inf" not in chart and "<b" not in chart
    assert Page(chart).open == []


def test_many_points_become_few_means():
    points = [(i, float(i % 2)) for i in range(1000)]
    few = charts.thinned(points, 100)
    assert len(few) == 100 and few[-1][0] == 999
    assert all(y == 0.5 for _, y in few)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_shows_the_page(page, folder, tmp_path):
    quiet = "gpu quic background-networking component-update sync".split()
    picture = tmp_path / "page.png"
    subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars",
         *(f"--disable-{what}" for what in quiet), f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=1200,900", f"--screenshot={picture}", f"file://{folder / report.FILE}"],
        check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    with Image.open(picture) as image:
        assert np.asarray(image.convert("RGB")).reshape(-1, 3).std(axis=0).min() > 5


def test_what_was_lost_and_given_up_is_told(tmp_path: Path) -> None:
    folder = synthetic.build(synthetic.small_config(tmp_path), measured=0, closed=0)
    assert "What was lost" not in Page(report.write(folder).read_text()).text
    for _ in range(2):
        events.note_start(folder, "solver 1")
    events.note(folder, "solver 1", "died", task="round 1 solver task 3")
    events.note(folder, "run", "gave up a task", why="round 1 <solver> task 3 failed 4 times")
    (folder / events.FILE).open("a").write('{"at": 1, "who"')
    groups = undone(
        Task(1, "solver", 0, 0), Task(1, "judge", 0, 0),
        [Proposal(0, "counting", "one kind", "two red circles", 1)], "ValueError: <no>",
    )  # fmt: skip
    ReplayBuffer(folder / "replay").append(1, 0, groups)
    text = Page(report.write(folder).read_text()).text
    assert "What was lost, and replaced" in text
    assert "solver started again" in text and "solver died" in text
    assert "round 1 <solver> task 3 failed 4 times" in text
    assert "task given up: ValueError: <no>" in text
