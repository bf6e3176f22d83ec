"""How far the Judge can be trusted: its scores of a round against the oracle's, where there is one.

Invariant: the numbers follow from the replay log alone; segments are tallied in Ray tasks, and
tallies add up to the same whatever the order. A prompt that the suite cannot read is never right.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import ray

from actors.config import JudgeConfig
from actors.hygiene.looks import Repeats, winning_looks
from actors.replay.records import JudgedGroup, reason_kind
from actors.replay.segments import read_segment, round_files
from actors.retry import within
from actors.storage.paths import StoragePath, run_folder
from evaluation.config import RunSettings
from evaluation.diversity import diversity
from evaluation.judging import correlation
from evaluation.metrics import kept_row, show, tell
from evaluation.suites import NEVER_RIGHT, Suite

BY_THE_ORACLE = {
    "agreement", "precision", "grammatical", "right", "any_right", "right_winners", "correlation",
    "tpr", "fpr", "j",
}  # fmt: skip
"""The audit's numbers that only a suite with an oracle can give."""
KIND = "round"
SEGMENTS_PER_TASK = 8
TASKS = 2
"""At a time: they ask Ray for no CPU, so nothing else would bound them."""


class Settings(RunSettings, Protocol):
    """What an audit needs of a run's configuration."""

    @property
    def judge(self) -> JudgeConfig: ...


@dataclass
class Tally:
    """Counts over judged groups. `counts` are named below; `pairs` are (Judge's score, oracle's
    score) of every scored rollout."""

    counts: Counter[str] = field(default_factory=Counter)
    pairs: list[tuple[float, float]] = field(default_factory=list)
    prompts: list[tuple[int, str]] = field(default_factory=list)
    looks: list[tuple[int, str]] = field(default_factory=list)
    """What the winners look like, where that is known."""

    def add(self, group: JudgedGroup, suite: Suite, judge: JudgeConfig, seed: int) -> None:
        readable = suite.grammatical(group.prompt)
        self.prompts.append((group.index, group.prompt))
        if look := winning_looks(group, seed, judge.ties):
            self.looks.append((group.index, look))
        self.counts.update({f"filtered/{name}": 0 for name in judge.hygiene.names})
        self.counts.update({"groups": 1, "grammatical": int(readable)})
        if not group.accepted:
            self.counts[f"rejected/{reason_kind(group.reason)}"] += 1
        right = [self._rollout(group, k, suite, readable, judge.accept_at)
                 for k in range(len(group.rollouts))]  # fmt: skip
        self.counts["any_right"] += any(right)
        if group.accepted:
            won = right[group.winner(seed, judge.ties)]
            self.counts.update({"accepted": 1, f"accepted/{group.category}": 1})
            self.counts.update({"won": int(won), f"won/{group.category}": int(won)})

    def _rollout(
        self, group: JudgedGroup, number: int, suite: Suite, readable: bool, accept_at: float
    ) -> bool:
        """Whether the oracle finds the drawing right, after counting what the Judge said."""
        rollout = group.rollouts[number]
        pixels, score = rollout.shown.pixels, rollout.judgement.score
        oracle = suite.verdict(pixels, group.prompt) if readable else NEVER_RIGHT
        right = oracle.right
        self.counts.update({"rollouts": 1, "right": int(right)})
        if rollout.unfit:
            self.counts[f"filtered/{rollout.unfit.filter}"] += 1
        elif score is None:
            self.counts["unparsable"] += 1
        else:
            said = score >= accept_at
            self.counts.update({"scored": 1, "agreed": int(said == right)})
            self.counts.update({f"of {right}": 1, f"said of {right}": int(said)})
            self.pairs.append((score, oracle.score))
        return right

    def merge(self, other: Tally) -> None:
        self.counts.update(other.counts)
        self.pairs += other.pairs
        self.prompts += other.prompts
        self.looks += other.looks

    def repeated(self, bits: int | None) -> dict[str, float]:
        """The percentage of winners that look like an earlier one, where that is sought."""
        seen, looks = Repeats(bits), [look for _, look in sorted(self.looks)]
        repeated = [seen.repeats(look) for look in looks]
        return {"hygiene/repeated": 100 * sum(repeated) / len(looks)} if looks else {}

    def values(self) -> dict[str, float]:
        """Percentages, but for the correlation and the numbers of winners and of right ones; what has
        no case to count is left out."""
        count = self.counts
        shares = {
            "agreement": ("agreed", "scored"),
            "precision": ("won", "accepted"),
            "accepted": ("accepted", "groups"),
            "unparsable": ("unparsable", "rollouts"),
            "grammatical": ("grammatical", "groups"),
            "right": ("right", "rollouts"),
            "any_right": ("any_right", "groups"),
            "tpr": ("said of True", "of True"),
            "fpr": ("said of False", "of False"),
        }
        for name in sorted(count):
            if name.startswith("accepted/"):
                category = name.removeprefix("accepted/")
                shares[f"precision/{category}"] = (f"won/{category}", name)
            elif name.startswith("rejected/"):
                shares[name] = (name, "groups")
        found = {f"audit/{name}": 100 * count[part] / count[whole]
                 for name, (part, whole) in shares.items() if count[whole]}  # fmt: skip
        for name in sorted(name for name in count if name.startswith("filtered/")):
            if count["rollouts"]:
                kind = name.removeprefix("filtered/")
                found[f"hygiene/{kind}"] = 100 * count[name] / count["rollouts"]
        if count["groups"]:
            found["audit/winners"] = float(count["accepted"])
            found["audit/right_winners"] = float(count["won"])
        if {"audit/tpr", "audit/fpr"} <= set(found):
            found["audit/j"] = found["audit/tpr"] - found["audit/fpr"]
        both = correlation(self.pairs)
        return found if both is None else {**found, "audit/correlation": both}


async def audit(round_: int, config: Settings, suite: Suite) -> dict[str, float]:
    """The Judge against the oracle over one closed round, and how varied its prompts were.

    Kept in the run's metrics.jsonl as the round's row; one that is there is read back. A suite
    without categories has no oracle: what the Judge said and the variety are counted all the same.
    """
    folder = run_folder(config)
    values = await asyncio.to_thread(kept_row, folder, KIND, round_)
    if values is None:
        tally = await _count(folder, round_, config, suite)
        prompts = [prompt for _, prompt in sorted(tally.prompts)]
        known = suite.held_out if suite.categories else None
        values = {
            **tally.values(),
            **tally.repeated(config.judge.hygiene.duplicate_bits),
            **diversity(prompts, known, config.seed, round_),
        }
        if not suite.categories:
            values = {n: v for n, v in values.items() if n.split("/")[1] not in BY_THE_ORACLE}
        await tell(config, {"kind": KIND, "round": round_}, values)
    else:
        show(config.name, values)
    return values


async def _count(folder: StoragePath, round_: int, config: Settings, suite: Suite) -> Tally:
    files = await asyncio.to_thread(round_files, folder / "replay", round_)
    held, places = ray.put(suite), asyncio.Semaphore(TASKS)

    async def count(part: list[StoragePath]) -> Tally:
        async with places:
            wait = _tally.remote(part, held, config.judge, config.seed)
            return await within(
                wait, config.actors.task_deadline, f"the oracle's audit of round {round_}"
            )

    async with asyncio.TaskGroup() as tasks:
        counts = [tasks.create_task(count(files[at : at + SEGMENTS_PER_TASK]))
                  for at in range(0, len(files), SEGMENTS_PER_TASK)]  # fmt: skip
    whole = Tally()
    for each in counts:
        whole.merge(each.result())
    return whole


def audit_groups(
    groups: Sequence[JudgedGroup], suite: Suite, judge: JudgeConfig, seed: int
) -> Tally:
    """`judge` and `seed` are the run's."""
    tally = Tally()
    for group in groups:
        tally.add(group, suite, judge, seed)
    return tally


@ray.remote(num_cpus=0)
def _tally(files: Sequence[StoragePath], suite: Suite, judge: JudgeConfig, seed: int) -> Tally:
    tally = Tally()
    for file in files:
        tally.merge(audit_groups(read_segment(file), suite, judge, seed))
    return tally
