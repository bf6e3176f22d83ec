"""The prompts of a round: without near-duplicates, and the best as demonstrations for the next.

Invariant: what is kept follows from the proposals in their order, and what is chosen from them
follows from the key: on another machine or after a restart the library is the same.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from actors.replay.records import Proposal
from policies.seeds import generator

Grams = frozenset[tuple[str, str]]


class PromptLibrary:
    """`kept` are the prompts so far, numbered from 0 in the order in which they came; `said` are those
    of earlier rounds that are not to be repeated."""

    def __init__(self, similarity: float, said: Iterable[str] = ()) -> None:
        self.kept: list[Proposal] = []
        self._similarity = similarity
        self._texts: set[str] = set()
        self._sizes: list[int] = []
        self._holders: dict[tuple[str, str], list[int]] = {}
        for prompt in said:
            text = normalise_prompt(prompt)
            self._know(text, bigrams(text))

    def add(self, proposal: Proposal) -> bool:
        """Keeps `proposal`, unless it is all but the same as one that is kept already."""
        text = normalise_prompt(proposal.prompt)
        grams = bigrams(text)
        if text in self._texts or self._nearest(grams) >= self._similarity:
            return False
        self._know(text, grams)
        self.kept.append(replace(proposal, index=len(self.kept)))
        return True

    def _know(self, text: str, grams: Grams) -> None:
        for gram in grams:
            self._holders.setdefault(gram, []).append(len(self._sizes))
        self._texts.add(text)
        self._sizes.append(len(grams))

    def candidates(self, count: int, *key: int | str) -> list[Proposal]:
        """Up to `count` prompts of each category, sampled without replacement by `key`."""
        chosen: list[Proposal] = []
        for category in dict.fromkeys(proposal.category for proposal in self.kept):
            own = [proposal for proposal in self.kept if proposal.category == category]
            order = generator(*key, category).permutation(len(own))
            chosen.extend(own[place] for place in sorted(order[:count]))
        return chosen

    def _nearest(self, grams: Grams) -> float:
        """The Jaccard similarity to the most similar prompt; only those that share a bigram are
        looked at."""
        shared = Counter(number for gram in grams for number in self._holders.get(gram, ()))
        return max(
            (both / (len(grams) + self._sizes[number] - both) for number, both in shared.items()),
            default=0.0,
        )


def demonstrations(
    candidates: Sequence[Proposal],
    ratings: Sequence[float | None],
    count: int,
    before: Mapping[str, list[str]],
) -> dict[str, list[str]]:
    """The `count` best-rated prompts of each category, best first, ties to the earlier one.

    A category without a rated candidate keeps the demonstrations that it had `before`.
    """
    rated = [(p, score) for p, score in zip(candidates, ratings, strict=True) if score is not None]
    rated.sort(key=lambda pair: (-pair[1], pair[0].index))
    best: dict[str, list[str]] = {}
    for proposal, _ in rated:
        best.setdefault(proposal.category, []).append(proposal.prompt)
    return {**before, **{category: texts[:count] for category, texts in best.items()}}


def normalise_prompt(prompt: str) -> str:
    """Small letters, single spaces, and no punctuation."""
    folded = unicodedata.normalize("NFKC", prompt).casefold()
    spaced = "".join(" " if unicodedata.category(c)[0] in "PZC" else c for c in folded)
    return " ".join(spaced.split())


def bigrams(text: str) -> Grams:
    """Pairs of neighbouring words; the ends count as words, and so order matters: "a circle above
    a square" is another drawing than "a square above a circle"."""
    words = ["<", *text.split(), ">"]
    return frozenset(pairwise(words))
