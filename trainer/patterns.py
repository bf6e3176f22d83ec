"""Cognitive pattern reconstruction: one judged group becomes what the model learns from it
(paper, section 3.3.2).

Invariant: a pure function of the group, the seed and the settings; every context is filled in
by the same templates as in sampling, and every picture is the one that was sampled. What a drawing
teaches is the whole output that came to it, a plan before it included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.replay.records import JudgedGroup, Rollout
from actors.roles.templates import Templates
from policies.interface import Context, Example, ExampleKey, Output, Pattern, Picture, learned
from policies.seeds import generator


def reconstruct(
    group: JudgedGroup, seed: int, templates: Templates, accept_at: float
) -> dict[Pattern, Example]:
    """The examples of an accepted group. A pattern that the group cannot give is absent: there
    is no reflection where no rollout scored lower than the best.

    The judgement that is learned comes with equal chance from the rollouts that scored
    `accept_at` or more and from those that scored less, where there are both.
    """
    ranked = [group.rollouts[i] for i in group.ranked()]
    if not group.accepted or not ranked:
        raise ValueError(
            f"Group {group.index} of round {group.round} was not accepted "
            f"({group.reason or 'it has no score'}); reconstruct accepted groups only."
        )
    random = generator(seed, "reconstruct", group.round, group.index)
    variant = {name: int(random.integers(templates.variants(name)))
               for name in ("draw", "caption", "judge", "reflection")}  # fmt: skip
    best, prompt = ranked[0], group.prompt
    judged = _pick(_balanced(ranked, accept_at, random), random)
    made: dict[Pattern, tuple[Context, Output]] = {
        "generation": (templates.draw(prompt, variant["draw"]), best.output),
        "caption": (templates.caption(_drawn(best), variant["caption"]), learned(prompt)),
        "judgement": (
            templates.judge(group.category, prompt, _drawn(judged), variant["judge"]),
            learned(judged.judgement.text()),
        ),
    }
    losers = [rollout for rollout in ranked if _score(rollout) < _score(ranked[0])]
    if losers:
        loser = _pick(losers, random)
        context = templates.reflection(
            prompt, _drawn(loser), loser.judgement.text(), variant["reflection"]
        )
        made["reflection"] = (context, best.output)
    key = ExampleKey(seed, group.round, group.index)
    return {name: Example(*each, name, key) for name, each in made.items()}


def _balanced(
    ranked: Sequence[Rollout], accept_at: float, random: np.random.Generator
) -> list[Rollout]:
    good = [rollout for rollout in ranked if _score(rollout) >= accept_at]
    poor = [rollout for rollout in ranked if _score(rollout) < accept_at]
    if good and poor:
        return good if random.random() < 0.5 else poor
    return good or poor


def _pick(rollouts: Sequence[Rollout], random: np.random.Generator) -> Rollout:
    return rollouts[int(random.integers(len(rollouts)))]


def _score(rollout: Rollout) -> float:
    score = rollout.judgement.score
    assert score is not None, "only scored rollouts are ranked"
    return score


def _drawn(rollout: Rollout) -> Picture:
    assert rollout.picture is not None, "only drawings are scored"
    return rollout.picture
