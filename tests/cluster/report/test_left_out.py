"""What filters left out, and winners that repeat another one, as the report and the gallery show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actors.hygiene.config import HygieneConfig
from actors.hygiene.looks import looks
from actors.replay.buffer import ReplayBuffer
from actors.replay.records import JudgedGroup, Judgement, Unfit
from cluster.gallery.views import Gallery
from cluster.recipes import recipe
from cluster.report import page as report
from cluster.report.data import read_run
from policies.config import changed
from tests.cluster.report import synthetic_run as synthetic
from trainer.config import RunConfig

REASON = "every drawing was left out by a filter"


def seen(group: JudgedGroup) -> JudgedGroup:
    drawn = (replace(r, looks=looks(r.shown.pixels)) for r in group.rollouts)
    return replace(group, rollouts=tuple(drawn))


def left_out(group: JudgedGroup) -> JudgedGroup:
    gone = (replace(r, judgement=Judgement("", None, 0), unfit=Unfit("unsafe", 0.875))
            for r in group.rollouts)  # fmt: skip
    return replace(group, rollouts=tuple(gone), reason=REASON)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig, list[JudgedGroup]]:
    """A closed round in which the last two accepted groups have the drawings of the first."""
    config = synthetic.small_config(tmp_path_factory.mktemp("runs"), rounds=1)
    own = HygieneConfig(unsafe_from=0.5, duplicate_bits=0)
    config = changed(config, judge=changed(config.judge, hygiene=own))
    groups = [seen(group) for group in synthetic.groups(config, 1)]
    first, *_, last, again = [i for i, g in enumerate(groups) if g.accepted and i]
    for place in (last, again):
        groups[place] = replace(groups[place], rollouts=groups[first].rollouts)
    groups[0] = left_out(groups[0])
    folder = recipe.claim_folder(config)
    buffer = ReplayBuffer(folder / "replay")
    for at in range(0, len(groups), 10):
        buffer.append(1, at // 10, groups[at : at + 10])
    buffer.close_round(1, 2)
    return folder, config, groups


def test_the_report_counts_what_was_left_out(made) -> None:
    folder, _, groups = made
    (round_,) = read_run(folder).rounds
    assert round_.filtered == {"unsafe": 8} and round_.repeated == 2
    assert round_.rejected[REASON] == 1
    assert round_.accepted == sum(group.accepted for group in groups)
    text = report.write(folder).read_text()
    assert "drawings left out: 8 by unsafe" in text
    assert "2 winners left out as repeated" in text
    assert "left out by the filter unsafe: 0.875" in text


def test_a_repeated_winner_is_in_no_batch_for_the_report_and_the_gallery_alike(made) -> None:
    folder, _, groups = made
    (round_,) = read_run(folder).rounds
    accepted = [group.index for group in groups if group.accepted]
    repeated, gallery = accepted[-2:], Gallery(folder)
    for index in accepted:
        told = gallery.lineage(1, index)
        assert told is not None and told["lessons"]
        used = {lesson["pattern"]: lesson["times"] for lesson in told["lessons"]}
        assert used == {p: round_.taught[index, p] for p in used}
        assert (sum(used.values()) == 0) is (index in repeated)
    whole = gallery.lineage(1, groups[0].index)
    assert {d["analysis"] for d in whole["drawings"]} == {"left out by the filter unsafe: 0.875"}
