"""What each step of a round learns from.

Invariant: the steps follow from (seed, round), the settings and the log alone, never from when
a group arrived or who asks; every rank computes the same ones. A step takes a chunk of
`groups_per_step` accepted groups; the pattern with the largest weight is taken from all of them,
the others from keyed choices among them, and what a chunk could not give exactly is owed to
the next one, so that over a round the patterns stand in the ratio of the mix. Where fewer groups
can give a pattern than the mix asks for, it falls short, or is repeated if the mix says so.
Rejected groups that give a judgement come along and are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from policies.interface import PATTERNS, Example, Pattern
from policies.seeds import generator
from trainer.config import ReconstructionConfig

GroupExamples = Mapping[Pattern, Example]
"""What one group can teach; a pattern that it cannot give is absent. Every accepted group gives a
generation, and no rejected one does."""


@dataclass(frozen=True)
class Step:
    """Step `index` (from 1) of epoch `epoch` (from 1) of a round; patterns with no example are
    absent from `batch`."""

    epoch: int
    index: int
    batch: dict[Pattern, tuple[Example, ...]]


@dataclass(frozen=True)
class Share:
    """What one rank passes forward at once of a pattern. `weight` is 0 where others have more
    shares: the example is then only there so that all ranks run the same units in the same
    order."""

    examples: tuple[Example, ...]
    weight: float


def round_steps(
    seed: int,
    round_: int,
    groups: Iterable[GroupExamples],
    mix: ReconstructionConfig,
    groups_per_step: int,
    epochs: int,
) -> Iterator[Step]:
    """All steps of a round. `groups` are those of it that teach, in the order of the log; it may
    block while the log grows and must end with the round: the first epoch streams it."""
    seen: list[GroupExamples] = []
    quotas = Quotas(seed, round_, mix)
    for epoch in range(1, epochs + 1):
        stream = _remember(groups, seen) if epoch == 1 else _shuffled(seen, seed, round_, epoch)
        for index, chunk in enumerate(_chunks(stream, groups_per_step), 1):
            yield Step(epoch, index, quotas.take(chunk, epoch, index))


class Quotas:
    """How many examples of each pattern a chunk gives, and which. Its state is what is owed and, to
    repeat examples, those that were seen."""

    def __init__(self, seed: int, round_: int, mix: ReconstructionConfig) -> None:
        weights = {pattern: Fraction(getattr(mix, pattern)) for pattern in PATTERNS}
        largest = max(weights.values())
        self.ratios = {p: weight / largest for p, weight in weights.items() if weight > 0}
        self.key, self.chances = (seed, round_), mix.condition_dropout
        # Begun at a keyed fraction, not at 0: short rounds would always round down.
        self.owed = {p: self._begin(p) for p in self.ratios}
        self.repeat, self.repeated = mix.repeat, Counter[tuple[Pattern, int]]()
        self.seen: dict[Pattern, dict[int, Example]] = {p: {} for p in self.ratios}

    def _begin(self, pattern: Pattern) -> Fraction:
        return Fraction(int(generator(*self.key, "quota", pattern).integers(1000)), 1000)

    def take(
        self, chunk: Sequence[GroupExamples], epoch: int, index: int
    ) -> dict[Pattern, tuple[Example, ...]]:
        batch = {}
        for pattern, ratio in self.ratios.items():
            able = [group[pattern] for group in chunk if pattern in group]
            self.owed[pattern] += ratio * _accepted(chunk)
            due = int(self.owed[pattern])
            count = min(due, len(able))
            chosen: list[Example] = []
            if count:
                random = generator(*self.key, "choice", pattern, epoch, index)
                places = random.choice(len(able), size=count, replace=False)
                chosen = [able[i] for i in sorted(places)]
            if self.repeat:
                self.seen[pattern] |= {example.key.group: example for example in able}
                chosen += self._again(pattern, due - count, epoch, index)
                count = due  # a debt from before there was an example is not paid with copies
            self.owed[pattern] -= count
            if chosen:
                batch[pattern] = tuple(self._in(epoch, example) for example in chosen)
        return batch

    def _again(self, pattern: Pattern, missing: int, epoch: int, index: int) -> list[Example]:
        """So many examples that the round has had, those first that were repeated least, each with
        a key of its own."""
        seen, random = self.seen[pattern], generator(*self.key, "again", pattern, epoch, index)
        found: list[Example] = []
        while seen and len(found) < missing:
            shuffled = random.permutation(list(seen)).tolist()
            least = sorted(shuffled, key=lambda group: self.repeated[pattern, group])
            for group in least[: missing - len(found)]:
                self.repeated[pattern, group] += 1
                key = replace(seen[group].key, repeat=self.repeated[pattern, group])
                found.append(replace(seen[group], key=key))
        return found

    def _in(self, epoch: int, example: Example) -> Example:
        """The example as this epoch learns it: with other random choices than in the others, of
        which one is what of a drawing's condition is left out."""
        example = replace(example, key=replace(example.key, epoch=epoch))
        if not example.draws:
            return example
        chances = self.chances.items()
        gone = [c for c, p in chances if p > 0 and example.random(f"drop {c}").random() < p]
        return replace(example, dropped=frozenset(gone))


def shares_for_rank(
    examples: Sequence[Example], rank: int, world: int, size: int
) -> tuple[Share, ...]:
    """Rank `rank`'s part of one pattern's examples (at least one) among `world` ranks, at most
    `size` in a share (0: all in one). Every rank has as many shares."""
    mine, most = tuple(examples[rank::world]), -(-len(examples) // world)
    size = size or most
    shares = [Share(mine[at : at + size], 1.0) for at in range(0, len(mine), size)]
    shares += [Share((examples[0],), 0.0)] * (-(-most // size) - len(shares))
    return tuple(shares)


def _remember(
    groups: Iterable[GroupExamples], seen: list[GroupExamples]
) -> Iterator[GroupExamples]:
    for group in groups:
        seen.append(group)
        yield group


def _shuffled(
    seen: Sequence[GroupExamples], seed: int, round_: int, epoch: int
) -> Iterator[GroupExamples]:
    order = generator(seed, round_, "epoch", epoch).permutation(len(seen))
    return (seen[i] for i in order)


def _chunks(stream: Iterable[GroupExamples], size: int) -> Iterator[list[GroupExamples]]:
    """Each with `size` accepted groups, the last with what is left, and with the rejected ones
    before them; those after the last accepted group of a round make no step."""
    chunk: list[GroupExamples] = []
    for group in stream:
        chunk.append(group)
        if _accepted(chunk) == size:
            yield chunk
            chunk = []
    if _accepted(chunk):
        yield chunk


def _accepted(chunk: Sequence[GroupExamples]) -> int:
    return sum("generation" in group for group in chunk)
