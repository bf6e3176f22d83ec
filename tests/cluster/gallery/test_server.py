"""The gallery over HTTP: it tells what is in the run folder, at any time of a run."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from actors.replay.records import Proposal, Task, undone
from actors.replay.segments import read_segment, write_segment
from actors.roles.templates import load_templates
from cluster.gallery import slices
from cluster.gallery.index import Index
from cluster.gallery.views import PAGE
from cluster.recipes import recipe
from cluster.report.lessons import lessons
from evaluation.config import EvaluationConfig
from policies.config import changed
from tests.cluster.gallery.gallery_samples import (
    Client,
    add,
    add_many,
    plain_group,
    run_folder,
    serving,
)
from tests.cluster.report import synthetic_run as synthetic

LONG_S = 60.0  # a limit for a hang, not for a busy machine


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two measured versions, a complete round, and a round in progress."""
    base = synthetic.small_config(tmp_path_factory.mktemp("runs"), rounds=3)
    config = changed(base, proposer=changed(base.proposer, prompts=30),
                     solver=changed(base.solver, rollouts=4))  # fmt: skip
    with serving(synthetic.build(config, measured=1, closed=1, begun=2)) as found:
        yield found


def test_the_page_is_there_and_refers_to_nothing_outside(client: Client) -> None:
    status, headers, body = client.get("/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    named = re.findall(r'(?:src|href)="([^"]*)"', body.decode())
    for path in [path for path in named if path.startswith("/")]:
        assert client.get(path)[0] == 200
    assert all(re.match(r"/|#|data:,$", path) for path in named)
    for path in ("/gallery.js", "/cards.js", "/lineage.js", "/gallery.css", "/report.css"):
        text = client.get(path)[2].decode()
        assert not re.search(r"https?:|innerHTML|outerHTML|insertAdjacent|\beval\(|@import", text)


def test_the_run_is_told_at_a_glance(client: Client) -> None:
    run = client.look()
    assert (run["name"], run["groups"], run["planned"]) == ("aphasia-study", 34, 3)
    first, second = run["rounds"]
    assert (first["groups"], first["closed"]) == (30, True)
    assert (second["groups"], second["closed"]) == (4, False)
    assert sum(count for _, count in run["categories"]) == 34
    assert run["accepted"] == first["accepted"] + second["accepted"]
    assert run["problems"] == []


def test_the_newest_come_first_page_by_page(client: Client) -> None:
    pages = [client.ask(f"/api/groups?page={page}") for page in (1, 2, 3)]
    assert [len(page["groups"]) for page in pages] == [PAGE, 34 - PAGE, 0]
    places = [(g["round"], g["index"]) for page in pages for g in page["groups"]]
    assert places[:4] == [(2, 3), (2, 2), (2, 1), (2, 0)]
    assert len(set(places)) == 34 and all(page["pages"] == 2 for page in pages)


def test_groups_are_chosen_by_round_category_and_fate(client: Client) -> None:
    every = client.ask("/api/groups?round=1&category=counting")["groups"]
    assert every and {(g["round"], g["category"]) for g in every} == {(1, "counting")}
    learned = client.ask("/api/groups?accepted=yes")
    turned = client.ask("/api/groups?accepted=no")
    assert learned["total"] + turned["total"] == 34
    assert all(g["reason"] for g in turned["groups"])
    assert client.ask("/api/groups?category=none")["total"] == 0


def test_a_group_is_told_as_the_report_tells_it(client: Client) -> None:
    folder, config = client.gallery.folder, client.gallery.config
    templates = load_templates(config.actors.templates)
    stored = [
        group
        for file in sorted((folder / "replay").rglob("*.parquet"))
        for group in read_segment(file)
    ]
    for group in stored[::5]:
        told = client.ask(f"/api/groups/{group.round}/{group.index}")
        examples = lessons(group, config, templates)
        assert told["prompt"] == group.prompt and told["prompt_seed"] == str(group.prompt_seed)
        assert (told["weight_version"], told["judge_version"]) == (
            group.weight_version, group.judge_version)  # fmt: skip
        assert [d["score"] for d in told["drawings"]] == [
            r.judgement.score for r in group.rollouts]  # fmt: skip
        for drawing, rollout in zip(told["drawings"], group.rollouts, strict=True):
            assert f"seed {rollout.seed}, temperature 1, guidance 1" in drawing["origin"]
            assert drawing["analysis"] == rollout.judgement.analysis
        assert {lesson["pattern"] for lesson in told["lessons"]} == set(examples)
        listed = client.ask(f"/api/groups?round={group.round}&category={quote(group.category)}")
        summary = next(g for g in listed["groups"] if g["index"] == group.index)
        assert [d["mark"] for d in summary["drawings"]] == [d["mark"] for d in told["drawings"]]
        assert told["complete"] is (group.round == 1)


def test_drawings_are_those_that_were_stored(client: Client) -> None:
    group = read_segment(min((client.gallery.folder / "replay").rglob("slice-00001*")))[2]
    told = client.ask(f"/api/groups/{group.round}/{group.index}")
    for drawing, rollout in zip(told["drawings"], group.rollouts, strict=True):
        for kind in ("picture", "thumbnail"):
            status, headers, png = client.get(f"/{kind}/{drawing['picture']}")
            assert status == 200 and headers["Content-Type"] == "image/png"
            assert "immutable" in headers["Cache-Control"]
            with Image.open(io.BytesIO(png)) as image:
                assert np.array_equal(np.asarray(image), rollout.picture.pixels)


def test_curves_go_over_versions_and_rounds(client: Client) -> None:
    plots = {plot["title"]: plot for plot in client.ask("/api/curves")}
    assert {"Scores", "Drawing", "UniCycle", "Yield"} <= set(plots)
    assert all(plot["chart"].startswith("<svg") for plot in plots.values())
    assert "polyline" in plots["Scores"]["chart"] and "polyline" in plots["Drawing"]["chart"]


def test_a_run_that_has_only_begun_can_be_looked_at(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    with serving(folder) as client:
        run = client.look()
        assert (run["groups"], run["rounds"], run["age"]) == (0, [], None)
        assert client.ask("/api/groups")["groups"] == []
        assert all("not measured yet" in plot["chart"] for plot in client.ask("/api/curves"))


def test_what_comes_and_goes_is_followed(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 1, plain_group(1, 7))
    with serving(folder) as client:
        before = client.look()
        late = add(folder, 1, 0, plain_group(1, 3, "late"))
        after = client.look()
        assert after["revision"] > before["revision"] and after["groups"] == 2
        assert client.ask("/api/groups")["groups"][0]["prompt"] == "late"
        assert client.look()["revision"] == after["revision"]
        late.unlink()
        assert client.look()["groups"] == 1
        assert "there is no group 3" in client.refused("/api/groups/1/3")


def test_prompts_that_were_given_up_are_shown_with_their_reason(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    groups = undone(Task(1, "solver", 0, 0), Task(1, "judge", 0, 0),
                    [Proposal(0, "counting", "one kind", "two red circles", 1)], "ValueError: <no>")  # fmt: skip
    add(folder, 1, 0, *groups)
    with serving(folder) as client:
        assert client.ask("/api/groups")["groups"][0]["reason"] == "task given up: ValueError: <no>"
        told = client.ask("/api/groups/1/0")
        assert told["drawings"] == [] and told["lessons"] == []


def test_a_large_drawing_has_a_small_thumbnail(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, plain_group(1, 0, side=600))
    with serving(folder) as client:
        address = client.ask("/api/groups")["groups"][0]["drawings"][3]["picture"]
        for kind, side in (("picture", 600), ("thumbnail", slices.THUMBNAIL_SIDE)):
            with Image.open(io.BytesIO(client.get(f"/{kind}/{address}")[2])) as image:
                assert image.size == (side, side)


def test_a_run_that_nothing_measures_can_be_looked_at(tmp_path: Path) -> None:
    config = changed(synthetic.small_config(tmp_path), evaluation=EvaluationConfig(suite="none"))
    folder = recipe.claim_folder(config)
    add(folder, 1, 0, plain_group(1, 0, "a red circle", side=600))
    with serving(folder) as client:
        assert [d["oracle"] for d in client.ask("/api/groups/1/0")["drawings"]] == [None] * 8


def test_a_drawing_that_the_oracle_cannot_read_is_shown_as_not_right(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, plain_group(1, 0, "a red circle", side=96))
    with serving(folder) as client:
        drawings = client.ask("/api/groups/1/0")["drawings"]
        assert [(d["oracle"], d["right"]) for d in drawings] == [(0.0, False)] * 8


def test_of_all_pixels_a_bounded_part_is_kept(tmp_path: Path) -> None:
    for slice_ in range(5):
        write_segment(tmp_path / "replay", 1, slice_, [plain_group(1, slice_)])
    now, pictures = Index(tmp_path / "replay").catalogue(), slices.Pictures(kept_bytes=1)
    for entry in now.groups:
        assert pictures.png(entry.slice, entry.row, 0)
    assert len(pictures._tables) == 1


def test_twenty_thousand_groups_stay_quick(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add_many(folder, rounds=10, slices=20, size=100)
    with serving(folder) as client:
        assert client.look()["groups"] == 20_000
        began = time.monotonic()
        newest, oldest = client.ask("/api/groups"), client.ask("/api/groups?page=834")
        assert (newest["groups"][0]["round"], newest["groups"][0]["index"]) == (10, 1999)
        assert (oldest["groups"][-1]["round"], oldest["groups"][-1]["index"]) == (1, 0)
        assert client.ask("/api/groups?round=3&category=counting&accepted=yes")["total"] == 1000
        assert client.ask("/api/groups/5/1234")["index"] == 1234
        assert client.get(f"/thumbnail/{oldest['groups'][0]['drawings'][0]['picture']}")[0] == 200
        client.ask("/api/curves")
        assert time.monotonic() - began < LONG_S


def test_the_command_serves_a_folder_until_it_is_interrupted(tmp_path: Path) -> None:
    import signal
    import urllib.request

    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, plain_group(1, 0))
    program = [sys.executable, "-m", "cluster", "gallery", str(folder)]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stdout and served.stderr
            link = served.stdout.readline().split()[-1]
            assert link.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{link}api/run", timeout=60) as answer:
                assert b'"groups": 1' in answer.read()
            port = link.rsplit(":", 1)[1].rstrip("/")
            again = subprocess.run(
                [*program, "--port", port], capture_output=True, text=True, timeout=120
            )
            assert again.returncode == 2 and again.stderr.count("\n") == 1
            assert (
                f"the gallery cannot listen at 127.0.0.1:{port} (Address already in use)"
                in again.stderr
            )
            served.send_signal(signal.SIGINT)
            assert served.wait(60) == 0 and served.stderr.read() == ""
        finally:
            served.kill()
