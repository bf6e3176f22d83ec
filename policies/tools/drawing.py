"""Drawing by calls: the model writes one, a tool draws, the model sees it and may call again.

Invariant: a drawing follows from its context, its sampling and its seed, as far as tools follow from theirs.
There are never more calls than turns; a call that failed is told to the model in words, and fails nobody
else's drawing. Only what was sampled as a call is read as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policies.interface import (
    Context,
    Output,
    Part,
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
)
from policies.seeds import derive
from policies.tools.calls import MOST_SEED, CallError, parse
from policies.tools.layout import Layout
from policies.tools.process import ToolFailed, ToolProcess
from policies.tools.tokens import CallGuide
from policies.vision_language.chat import Read, Turn

FAILED = "There is no picture: {}"


@dataclass
class Drawn:
    """A drawing that is being made: what was said, and what it has come to."""

    context: Context
    how: PictureSampling
    seed: int
    turns: list[Turn]
    parts: list[Part] = field(default_factory=list)


def draw(
    layout: Layout, tools: Mapping[str, ToolProcess], sides: Sequence[int],
    contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int],
) -> list[Output]:  # fmt: skip
    """Raises PromptError, ToolUnusable."""
    rows = [
        Drawn(context, how, int(seed), layout.begin(context))
        for context, how, seed in zip(contexts, sampling, seeds, strict=True)
    ]
    if layout.plan:
        _plan(layout, rows)
    left = rows
    for turn in range(layout.turns):
        reads = [(row, layout.speaker.read(row.turns, True)) for row in left]
        if turn == 0:
            for row, read in reads:
                layout.speaker.require_room(read, layout.most, row.context)
        most = layout.speaker.module.max_positions - layout.most
        reads = [(row, read) for row, read in reads if len(read.ids) <= most]
        left = []
        for (row, _), text in zip(reads, _calls(layout, reads, turn), strict=True):
            if _follow(layout, tools, sides, row, text, turn):
                left.append(row)
        if not left:
            break
    return [tuple(row.parts) for row in rows]


def _plan(layout: Layout, rows: Sequence[Drawn]) -> None:
    read = [layout.speaker.read(row.turns, True) for row in rows]
    for row in rows:
        called = layout.speaker.read([*row.turns, *layout.planned("")], True)
        layout.speaker.require_room(called, layout.plan + layout.most, row.context)
    how = [TextSampling(row.how.temperature, layout.plan) for row in rows]
    seeds = [derive("plan", row.seed) for row in rows]
    for row, ids in zip(rows, layout.speaker.go_on(read, how, seeds).tokens, strict=True):
        plan = layout.speaker.text_of(ids.tolist())
        row.parts.append(Part(plan))
        row.turns += layout.planned(plan)


def _calls(layout: Layout, reads: Sequence[tuple[Drawn, Read]], turn: int) -> list[str]:
    """What each row says at its turn: a call, or after the first one perhaps nothing."""
    if not reads:
        return []
    how = [TextSampling(row.how.temperature, layout.most) for row, _ in reads]
    seeds = [derive("call", turn, row.seed) for row, _ in reads]
    guide = CallGuide(layout.rules, [layout.most] * len(reads), may_end=turn > 0)
    sampled = layout.speaker.go_on([read for _, read in reads], how, seeds, guide)
    spell, lead = layout.rules.vocabulary.spelt, layout.speaker.chat.lead
    said = (spell(ids.tolist()).decode(errors="replace") for ids in sampled.tokens)
    return [layout.respelt(text.removeprefix(lead)) for text in said]


def _follow(
    layout: Layout, tools: Mapping[str, ToolProcess], sides: Sequence[int], row: Drawn, text: str,
    turn: int,
) -> bool:  # fmt: skip
    """Does what a row says; returns whether it may say more."""
    if text == "":
        row.parts.append(Part(""))
        return False
    result: str | Picture
    try:
        call = parse(text, tools, sides)
        seed = derive("tool", turn, row.seed) % (MOST_SEED + 1) if call.seed is None else call.seed
        size = call.size or (row.how.size if any(row.how.size) else None)
        result = Picture(tools[call.tool].draw(call.prompt, seed, size))
        layout.speaker.eye.count(result)  # nobody can go on from what the model cannot see
    except (CallError, ToolFailed, PromptError) as error:
        result = FAILED.format(error)
    # Nobody shall learn to call for nothing.
    row.parts += [Part(text, learned=isinstance(result, Picture)), Part(result, learned=False)]
    row.turns += layout.called(text, result)
    return True
