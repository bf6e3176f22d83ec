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
from actors.retry import patiently
from actors.roles.prompt_library import PromptLibrary, demonstrations
from actors.roles.proposer import Request
from actors.roles.templates import load_templates
from actors.storage import storage
from actors.storage.paths import StoragePath
from policies.errors import UserError
from trainer.run_actors import RunActors

FOLDER = "proposals"

Written = Proposal | None | Literal["given up"]
"""What came of a request: None where nobody could read it, a word where its task was given up."""


class ProposalsDamaged(UserError, ValueError):
    """A file of prompts that is not what was written; the message names it."""


async def propose(crew: RunActors, round_: int, version: int) -> list[list[Proposal]]:
    """The kept prompts in the fixed slices that Solver and Judge work on."""
    file = crew.folder / FOLDER / f"round-{round_:05d}.json"
    if not await asyncio.to_thread(storage.exists, file):
        kept = await _propose(crew, round_, version)
        data = json.dumps([asdict(proposal) for proposal in kept]).encode()
        pause_s = crew.config.actors.pause_deadline
        await asyncio.to_thread(patiently, lambda: storage.write(file, data), str(file), pause_s)
    kept = await asyncio.to_thread(_read, file)
    size = crew.config.solver.prompts_per_task
    return [kept[at : at + size] for at in range(0, len(kept), size)]


def _read(file: StoragePath) -> list[Proposal]:
    try:
        return [Proposal(**each) for each in json.loads(storage.read(file))]
    except (ValueError, TypeError) as error:
        raise ProposalsDamaged(
            f"{file} does not hold the prompts of a round ({error}): restore it, or delete it to "
            "have them written again"
        ) from error


async def _propose(crew: RunActors, round_: int, version: int) -> list[Proposal]:
    settings = crew.config.proposer
    library, fates = PromptLibrary(settings.similarity), Counter[str]()
    shown: dict[str, list[str]] = {}
    requests = _requests(crew, settings.prompts)
    for block, at in enumerate(range(0, len(requests), settings.reseed_every)):
        asked = requests[at : at + settings.reseed_every]
        for proposal in await _write(crew, round_, version, at, asked, shown):
            fates[_fate(proposal, library, crew.measured_by)] += 1
        if at + settings.reseed_every < len(requests):
            shown = await _reseed(crew, round_, version, block, library, shown)
    await crew.note(
        "proposals", round_, {f"proposals/{fate}": float(n) for fate, n in fates.items()}
    )
    return library.kept


def _requests(crew: RunActors, count: int) -> list[Request]:
    """Prompt j is of category j, and each category goes through its subcategories in turn."""
    templates = load_templates(crew.config.actors.templates)
    return [templates.request(number) for number in range(count)]


async def _write(
    crew: RunActors,
    round_: int,
    version: int,
    first: int,
    requests: Sequence[Request],
    shown: Mapping[str, Sequence[str]],
) -> list[Written]:
    size = crew.config.proposer.prompts_per_task

    async def one(at: int) -> list[Written]:
        task, own = Task(round_, "proposer", first + at, version), requests[at : at + size]
        try:
            ref = await crew.proposers.run(task, "propose", own, shown)
        except Poisoned as error:
            crew.poisoned(error)
            return ["given up"] * len(own)
        return await crew.within(ref, f"the prompts of {task}")

    parts = await asyncio.gather(*(one(at) for at in range(0, len(requests), size)))
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
    crew: RunActors,
    round_: int,
    version: int,
    block: int,
    library: PromptLibrary,
    shown: dict[str, list[str]],
) -> dict[str, list[str]]:
    """The next block's demonstrations: the best of some candidates, by the Judge's rating."""
    settings = crew.config.proposer
    key = (crew.config.seed, round_, "rater", block)
    candidates = library.candidates(settings.reseed_candidates, *key)
    task = Task(round_, "rater", block, crew.judge_version(version))
    try:
        ref = await crew.judges.run(task, "rate", [proposal.prompt for proposal in candidates])
    except Poisoned as error:
        crew.poisoned(error)
        return shown
    ratings = await crew.within(ref, f"the ratings of {task}")
    return demonstrations(candidates, ratings, settings.demonstrations, shown)
