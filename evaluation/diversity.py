"""How varied the Proposer's prompts are, and how many of them pretraining never showed.

Invariant: every number is a share from 0 to 1 and follows from the prompts and the key alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policies.seeds import generator

PAIRS = 2000


def diversity(
    prompts: Sequence[str], held_out: Callable[[str], bool] | None, *key: int | str
) -> dict[str, float]:
    """Returns the numbers for one round's prompts, or {} without prompts. `key` seeds the choice of
    pairs.

    distinct_n: different n-grams over all n-grams (falls as prompts repeat each other);
    self_similarity: mean token Jaccard of pairs of prompts; unique: different prompts over all;
    held_out: the share that pretraining never showed, left out where `held_out` is None because
    nobody knows what it showed.
    """
    if not prompts:
        return {}
    tokens = [prompt.split() for prompt in prompts]
    values = {f"diversity/distinct_{n}": distinct(tokens, n) for n in (1, 2, 3)}
    values["diversity/self_similarity"] = self_similarity(tokens, *key)
    values["diversity/unique"] = len(set(prompts)) / len(prompts)
    if held_out is not None:
        values["diversity/held_out"] = sum(map(held_out, prompts)) / len(prompts)
    return values


def distinct(tokens: Sequence[Sequence[str]], n: int) -> float:
    """Returns different n-grams over all n-grams; 0 if no prompt has n tokens."""
    grams = [tuple(row[i : i + n]) for row in tokens for i in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_similarity(tokens: Sequence[Sequence[str]], *key: int | str) -> float:
    """Returns the mean Jaccard index of up to `PAIRS` pairs of token sets; 0 without pairs."""
    sets = [set(row) for row in tokens]
    pairs = _pairs(len(sets), *key)
    return sum(jaccard(sets[i], sets[j]) for i, j in pairs) / len(pairs) if pairs else 0.0


def jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def _pairs(count: int, *key: int | str) -> list[tuple[int, int]]:
    """Returns all pairs, or `PAIRS` random ones seeded by `key` if there are more."""
    if count * (count - 1) // 2 <= PAIRS:
        return [(i, j) for j in range(count) for i in range(j)]
    rng = generator("diversity", *key)
    first = rng.integers(count, size=PAIRS)
    other = (first + rng.integers(1, count, size=PAIRS)) % count
    return list(zip(first.tolist(), other.tolist(), strict=True))
