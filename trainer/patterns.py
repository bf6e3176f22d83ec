"""Cognitive pattern reconstruction: one judged group becomes what the model learns from it
(paper, section 3.3.2).

Invariant: a pure function of the group, the seed and the settings; every context is filled in
by the same templates as in sampling, and every picture is the one that was sampled. What a drawing
teaches is the whole output that came to it, a plan before it included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from actors.replay.records import JudgedGroup, Rollout
from actors.roles.templates import Templates
from policies.interface import Context, Example, ExampleKey, Output, Pattern, Picture, learned
from policies.seeds import generator
from trainer.config import ReconstructionConfig, RunConfig

Lesson = tuple[Context, Output]


def teaches(group: JudgedGroup, rules: ReconstructionConfig) -> bool:
    """Whether anything is learned from the group."""
    if rules.contested_by and group.margin() < rules.contested_by:
        return False
    judgement = rules.judged == "all" and rules.judgement > 0 and bool(group.ranked())
    return group.accepted or (judgement and not group.untrusted)


def reconstruct(
    group: JudgedGroup, config: RunConfig, templates: Templates
) -> dict[Pattern, Example]:
    """The examples of a group that `teaches`. A pattern that the group cannot give is absent: there
    is no reflection where no rollout scored as much lower than the best as it must, no caption where
    the best scored too low for one, and a rejected group gives a judgement alone."""
    seed, rules = config.seed, config.reconstruction
    ranked = [group.rollouts[i] for i in group.ranked()]
    if not teaches(group, rules) or not ranked:
        raise ValueError(
            f"Group {group.index} of round {group.round} was not accepted "
            f"({group.reason or 'it has no score'}); reconstruct accepted groups only."
        )
    random = generator(seed, "reconstruct", group.round, group.index)
    repair = "reflection" if rules.reflection_judgement else "repair"
    caption = "infer" if rules.caption_wording == "infer" else "caption"
    variant = {name: int(random.integers(templates.variants(name)))
               for name in ("draw", caption, "judge", repair)}  # fmt: skip
    best, prompt = group.rollouts[group.winner(seed, config.judge.ties)], group.prompt
    made: dict[Pattern, Lesson] = {
        "generation": (templates.draw(prompt, variant["draw"]), best.output),
        "caption": (templates.caption(_drawn(best), variant[caption], caption), learned(prompt)),
    }
    if analysed := [rollout for rollout in ranked if rollout.judgement.analysis]:
        judged = _pick(_judged(analysed, config, random), random)
        made["judgement"] = _judgement(group, judged, config, templates, variant["judge"])
    if losers := _losers(ranked, rules):
        loser = _pick(losers, random)
        made["reflection"] = _reflection(prompt, loser, templates, variant), best.output
    if _score(ranked[0]) < rules.caption_from:
        del made["caption"]
    key = ExampleKey(seed, group.round, group.index)
    given = tuple(made) if group.accepted else made.keys() & {"judgement"}
    examples = {name: Example(*made[name], name, key) for name in given}
    if group.accepted and config.trainer.contrast.weight:
        examples["generation"] = replace(examples["generation"], worse=_worse(group, config))
    return examples


def _worse(group: JudgedGroup, config: RunConfig) -> Output:
    """What the winner is contrasted with: nothing where no drawing is as much worse as it must."""
    if group.margin() < config.trainer.contrast.margin:
        return ()
    ranked = [group.rollouts[i] for i in group.ranked()]
    worst = [each for each in ranked if _score(each) == _score(ranked[-1])]
    return _pick(worst, generator(config.seed, "worse", group.round, group.index)).output


def _judgement(
    group: JudgedGroup, judged: Rollout, config: RunConfig, templates: Templates, variant: int
) -> Lesson:
    context = templates.judge(
        group.category, group.prompt, _drawn(judged),
        0 if config.reconstruction.judge_as_asked else variant, config.judge.picture_first,
    )  # fmt: skip
    return context, learned(judged.judgement.text())


def _reflection(
    prompt: str, loser: Rollout, templates: Templates, variant: dict[str, int]
) -> Context:
    """With what the loser said before its drawing, such as the call that it came from, before that."""
    drawn, judgement = _drawn(loser), loser.judgement.text()
    context = (
        templates.repair(prompt, drawn, variant["repair"])
        if "repair" in variant
        else templates.reflection(prompt, drawn, judgement, variant["reflection"])
    )
    at = context.index(drawn)
    return (*context[:at], *_said(loser, drawn), *context[at:])


def _said(rollout: Rollout, drawn: Picture) -> Iterator[str]:
    for part in rollout.output:
        if part.segment is drawn:
            return
        if isinstance(part.segment, str) and part.segment:
            yield part.segment


def _judged(
    ranked: Sequence[Rollout], config: RunConfig, random: np.random.Generator
) -> Sequence[Rollout]:
    """The rollouts one of which gives the judgement. If it is to be balanced, those that scored
    `accept_at` or more, or with equal chance those that scored less, where there are both."""
    if config.reconstruction.judged != "balanced":
        return ranked
    accept_at = config.judge.accept_at
    good = [rollout for rollout in ranked if _score(rollout) >= accept_at]
    poor = [rollout for rollout in ranked if _score(rollout) < accept_at]
    if good and poor:
        return good if random.random() < 0.5 else poor
    return good or poor


def _losers(ranked: Sequence[Rollout], rules: ReconstructionConfig) -> list[Rollout]:
    """The rollouts one of which a reflection may start from."""
    best, worst = _score(ranked[0]), _score(ranked[-1])
    if best < rules.reflection_from:
        return []
    lower = [
        r for r in ranked
        if _score(r) < best and best - _score(r) >= rules.reflection_margin
        and (r.judgement.analysis or not rules.reflection_judgement)
    ]  # fmt: skip
    return [r for r in lower if rules.loser == "any" or _score(r) == worst]


def _pick(rollouts: Sequence[Rollout], random: np.random.Generator) -> Rollout:
    return rollouts[int(random.integers(len(rollouts)))]


def _score(rollout: Rollout) -> float:
    score = rollout.judgement.score
    assert score is not None, "only scored rollouts are ranked"
    return score


def _drawn(rollout: Rollout) -> Picture:
    assert rollout.picture is not None, "only drawings are scored"
    return rollout.picture
