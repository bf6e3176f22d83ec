"""A round's prompts: written block by block, each block after the best of the one before.

Invariant: a round's prompts are written once and kept in the run folder before one is drawn, so
they are the same after a restart, also where a task had been given up. A prompt that is measured
by is never learned from.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from actors.pool.faults import Poisoned
from actors.replay.records import Proposal, Task
from actors.retry import within
from actors.roles.outside import load_outside
from actors.roles.prompt_library import PromptLibrary, demonstrations
from actors.roles.requests import Propose, Rate
from actors.roles.templates import load_templates
from actors.roles.topics import Topic
from actors.storage import storage
from actors.storage.once import written_once
from actors.storage.paths import StoragePath
from policies.errors import UserError
from trainer.config import RunConfig
from trainer.experience import Experience, experience, without
from trainer.run_actors import RunActors

FOLDER = "proposals"

Written = Proposal | None | Literal["given up"]
"""What came of a topic: None where no answer could be read, a word where its task was given up."""


class ProposalsDamaged(UserError, ValueError):
    """A file of prompts that is not what was written; the message names it."""


async def propose(run: RunActors, round_: int, version: int) -> list[list[Proposal]]:
    """The kept prompts in the fixed slices that Solver and Judge work on."""
    file = _file(run, round_)

    async def make() -> bytes:
        return json.dumps(list(map(_row, await _propose(run, round_, version)))).encode()

    await written_once(file, run.config.actors.pause_deadline, make)
    kept = await asyncio.to_thread(_read, file)
    if round_ == 1:
        kept = kept[: len(kept) - _held_out(run.config, kept)]
    size = run.config.solver.prompts_per_task
    return [kept[at : at + size] for at in range(0, len(kept), size)]


def aside(run: RunActors) -> list[Proposal]:
    """The last prompts of round 1, which nothing is learned from: versions are compared by them."""
    kept = _read(_file(run, 1))
    return kept[len(kept) - _held_out(run.config, kept) :]


def _held_out(config: RunConfig, kept: Sequence[Proposal]) -> int:
    """At most half, for round 1 has to learn from something."""
    return min(config.trainer.step_back, len(kept) // 2)


def _file(run: RunActors, round_: int) -> StoragePath:
    return run.folder / FOLDER / f"round-{round_:05d}.json"


def _row(proposal: Proposal) -> dict[str, object]:
    """Names what came from outside only where something did."""
    row = asdict(proposal)
    return row if proposal.external else {k: v for k, v in row.items() if k != "external"}


def _read(file: StoragePath) -> list[Proposal]:
    try:
        return [Proposal(**each) for each in json.loads(storage.read(file))]
    except (ValueError, TypeError) as error:
        raise ProposalsDamaged(
            f"{file} does not hold the prompts of a round ({error}): restore it, or delete it to "
            "have them written again"
        ) from error


async def _propose(run: RunActors, round_: int, version: int) -> list[Proposal]:
    settings, fates = run.config.proposer, Counter[str]()
    before = await asyncio.to_thread(_experience, run, round_)
    again = before.again(round(settings.again * settings.prompts), run.config.seed, round_, "again")
    compared = run.config.trainer.step_back > 0 and round_ > 1
    held_out = await asyncio.to_thread(aside, run) if compared else []
    said = [*without(before.said, again), *(proposal.prompt for proposal in held_out)]
    library = PromptLibrary(settings.similarity, said)
    for failed in again:
        fates["again" if library.add(failed) else "near-duplicate"] += 1
    shown: dict[str, list[str]] = {}
    topics = await asyncio.to_thread(_topics, run.config, round_, before, len(again))
    for block, at in enumerate(range(0, len(topics), settings.reseed_every)):
        asked = topics[at : at + settings.reseed_every]
        for proposal in await _write(run, round_, version, at, asked, shown):
            fates[_fate(proposal, library, run.measured_by)] += 1
        if at + settings.reseed_every < len(topics) and not settings.seed_prompts:
            shown = await _reseed(run, round_, version, block, library, shown)
    await run.report.note(
        "proposals", round_, {f"proposals/{fate}": float(n) for fate, n in fates.items()}
    )
    return library.kept


def _experience(run: RunActors, round_: int) -> Experience:
    """What the round's prompts follow from beside the settings."""
    own = run.config.proposer
    if round_ == 1 or not (own.memory or own.again or own.follow == "weakness"):
        return Experience()
    return experience(run.folder / "replay", round_, own.memory, run.config.judge.accept_at)


def _topics(config: RunConfig, round_: int, before: Experience, again: int) -> list[Topic]:
    """The topics that are left beside `again` prompts, with what outside files add to them."""
    templates, own = load_templates(config.actors.templates), config.proposer
    outside = load_outside(own, templates.categories)
    outside = load_outside(own, templates.categories)
    weights = before.weights(config.solver.rollouts) if own.follow == "weakness" else {}
    return [
        outside.add(topic, config.seed, round_, own.demonstrations)
        for topic in templates.topics(own.prompts - again, own.category_shares, weights)
    ]


async def _write(
    run: RunActors,
    round_: int,
    version: int,
    first: int,
    topics: Sequence[Topic],
    shown: Mapping[str, Sequence[str]],
) -> list[Written]:
    size = run.config.proposer.prompts_per_task

    async def one(at: int) -> list[Written]:
        task, own = Task(round_, "proposer", first + at, version), topics[at : at + size]
        try:
            ref = await run.proposers.run(Propose(task), own, shown)
        except Poisoned as error:
            run.poisoned(error)
            return ["given up"] * len(own)
        return list(await within(ref, run.config.actors.task_deadline, f"the prompts of {task}"))

    parts = await asyncio.gather(*(one(at) for at in range(0, len(topics), size)))
    return [proposal for part in parts for proposal in part]


def _fate(proposal: Written, library: PromptLibrary, measured_by: frozenset[str]) -> str:
    """What becomes of a proposal, after keeping it in the library if it is to be kept."""
    if proposal is None:
        return "unparsable"
    if isinstance(proposal, str):
        return proposal
    if proposal.prompt in measured_by:
        return "measured by"
    return "kept" if library.add(proposal) else "near-duplicate"


async def _reseed(
    run: RunActors,
    round_: int,
    version: int,
    block: int,
    library: PromptLibrary,
    shown: dict[str, list[str]],
) -> dict[str, list[str]]:
    """The next block's demonstrations: the best of some candidates, by the Judge's rating."""
    settings = run.config.proposer
    key = (run.config.seed, round_, "rater", block)
    candidates = library.candidates(settings.reseed_candidates, *key)
    task = Task(round_, "rater", block, run.judge_version(version))
    try:
        ref = await run.judges.run(Rate(task), [proposal.prompt for proposal in candidates])
    except Poisoned as error:
        run.poisoned(error)
        return shown
    ratings = await within(ref, run.config.actors.task_deadline, f"the ratings of {task}")
    return demonstrations(candidates, ratings, settings.demonstrations, shown)
