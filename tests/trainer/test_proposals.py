"""A round's topics and what is kept of them: as ever by default, and marked with what came from outside."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.category_shares import CategoryShares
from actors.config import ProposerConfig
from actors.replay.records import Proposal
from actors.roles.requests import Propose, Rate
from actors.roles.topics import Topic
from trainer import proposals
from trainer.config import RunConfig
from trainer.experience import Experience

SEEDS = "Major Category,Subcategory,Seed\ncounting,cups,two cups\ncounting,cups,three cups\n"
COUNTING = CategoryShares(**{**dict.fromkeys(CategoryShares.model_fields, 0.0), "counting": 1.0})
ROW = {"index": 0, "category": "counting", "subcategory": "k", "prompt": "two cups", "seed": 5}


class Pool:
    """Proposes a prompt of its own for every topic, and rates all alike; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def run(self, request: Any, *inputs: Any) -> Any:
        self.asked.append((request, inputs))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.set_result(
            [5.0] * len(inputs[0])
            if isinstance(request, Rate)
            else [Proposal(t.number, t.category, t.subcategory, f"word{t.number}", 0, t.external)
                  for t in inputs[0]]
        )  # fmt: skip
        return answer


async def note(*told: object) -> None:
    return


def round_of(folder: Path, number: int = 1, **own: object) -> tuple[list[Proposal], Pool]:
    pool = Pool()
    settings = {"prompts": 40, "prompts_per_task": 10, "reseed_every": 20, **own}
    config = RunConfig(proposer=ProposerConfig(**settings))
    run: Any = SimpleNamespace(
        config=config, folder=folder, measured_by=frozenset(), proposers=pool, judges=pool,
        report=SimpleNamespace(note=note), judge_version=lambda version: version,
    )  # fmt: skip
    slices = asyncio.run(proposals.propose(run, number, 0))
    return [each for part in slices for each in part], pool


def asked(pool: Pool, kind: type) -> list[Any]:
    return [inputs for request, inputs in pool.asked if isinstance(request, kind)]


def test_without_outside_files_the_kept_file_says_nothing_of_them(tmp_path: Path) -> None:
    kept, pool = round_of(tmp_path)
    assert len(kept) == 40 and len(asked(pool, Rate)) == 1
    stored = json.loads((tmp_path / "proposals" / "round-00001.json").read_text())
    assert [list(each) for each in stored] == [list(ROW)] * 40
    assert proposals._row(Proposal(**ROW)) == ROW
    assert {topic[3:] for topics, _ in asked(pool, Propose) for topic in topics} == {("", (), "")}


def test_seed_prompts_take_the_place_of_what_the_judge_picks(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(SEEDS)
    settings = {"seed_prompts": str(tmp_path / "own.csv"), "category_shares": COUNTING}
    kept, pool = round_of(tmp_path, **settings)
    again, _ = round_of(tmp_path)
    assert again == kept, "what is kept is read again"
    assert asked(pool, Rate) == []
    assert all(each.external.startswith("seed prompts own.csv ") for each in kept)
    topics = [topic for part, _ in asked(pool, Propose) for topic in part]
    assert {topic.subcategory for topic in topics} == {"cups"}
    assert {len(topic.demonstrations) for topic in topics} == {1, 2}
    config = RunConfig(proposer=ProposerConfig(prompts=40, **settings))
    rounds = [proposals._topics(config, round_, Experience(), 0) for round_ in (1, 2)]
    assert rounds[0] == topics != rounds[1]


@pytest.mark.parametrize("prompts", [1, 25])
def test_the_topics_of_a_round_are_turns_by_default(prompts: int) -> None:
    config = RunConfig(proposer=ProposerConfig(prompts=prompts))
    topics = proposals._topics(config, 3, Experience(), 0)
    assert topics[0] == Topic(0, "general object", "single")
    assert [topic.number for topic in topics] == list(range(prompts))
