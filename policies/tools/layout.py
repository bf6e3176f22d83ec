"""A drawing as a conversation: what is asked, a plan perhaps, and calls, each with what came of it.

Invariant: what is learned of a drawing is what it was sampled as: the same instructions, the same turns, and
every call among the words that it was chosen from. Pictures of tools are never learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from policies.interface import Context, Example, Output, Part, Picture, Unsupported
from policies.tools.tokens import Rules
from policies.vision_language.chat import Turn, answered, asked
from policies.vision_language.policy import Lesson, VisionLanguagePolicy

INSTRUCTION = (
    "Draw what is asked for by calling a tool. Answer with one JSON object: "
    '{{"tool": {tools}, "prompt": "what to draw"}}'
)
OPTIONAL = ' It may also have "seed": a whole number{size}.'
PLAN = "Plan the picture first: say what is seen and where it is. The call comes after that."
CALL = "Now call a tool."
AGAIN = "This came of it. If it is what was asked for, say nothing; if not, call a tool again."

DRAWING = ("generation", "reflection")


def instruction(tools: Sequence[str], sides: Sequence[int]) -> str:
    """What stands before everything that is to be drawn by these tools, in pictures of these sides."""
    named = " or ".join(f'"{tool}"' for tool in tools)
    size = f', and "size": [height, width], each of {", ".join(map(str, sides))}' if sides else ""
    return INSTRUCTION.format(tools=named) + OPTIONAL.format(size=size)


class Layout:
    """`turns` calls of at most `most` words each make a drawing, after a plan of at most `plan` words."""

    def __init__(
        self, speaker: VisionLanguagePolicy, rules: Rules, tools: Sequence[str], sides: Sequence[int],
        turns: int, most: int, plan: int,
    ) -> None:  # fmt: skip
        self.speaker, self.rules, self.turns, self.most, self.plan = (
            speaker,
            rules,
            turns,
            most,
            plan,
        )
        self.instruction = instruction(tools, sides)

    def begin(self, context: Context) -> list[Turn]:
        """What is said to the model before it draws."""
        plan = (PLAN,) if self.plan else ()
        return [asked(self.instruction, *plan, *context)]

    def planned(self, plan: str) -> list[Turn]:
        """The plan, and what is said after it."""
        return [answered(plan), asked(CALL)]

    def called(self, call: str, result: str | Picture) -> list[Turn]:
        """A call, and what is said after it."""
        return [answered(call), asked(result, AGAIN)]

    # Learning

    def lesson(self, example: Example) -> Lesson:
        """What the example teaches. Raises PromptError, Unsupported."""
        if example.pattern not in DRAWING:
            return self.speaker.told(example.context, _only_text(example))
        turns, learned, calls = self._conversation(example)
        read = self.speaker.read(turns, False)
        self.speaker.require_room(read, 0, example.context)
        places: list[int] = []
        made: list[Callable[[], np.ndarray]] = []
        for number, span in enumerate(read.answers):
            if number not in learned:
                continue
            places += span
            if number in calls:
                ids = read.ids[span.start : span.stop]
                self._require_spelt(turns[2 * number + 1], ids[:-1])
                made.append(partial(self.rules.along, ids, self.most, number > calls[0]))
            else:
                made.append(partial(np.ones, (len(span), self.speaker.module.words), bool))
        return Lesson(read, np.array(places), lambda: np.concatenate([each() for each in made]))

    def respelt(self, text: str) -> str:
        """A call as its tokenizer reads it: one that composes letters reads other bytes."""
        spelt = self.rules.vocabulary.spelt(self.speaker.chat.answer(text)[:-1])
        return spelt.decode(errors="replace").removeprefix(self.speaker.chat.lead)

    def is_call(self, text: str) -> bool:
        automaton = self.rules.automaton
        said = (self.speaker.chat.lead + text).encode(errors="replace")
        return automaton.run(said) == automaton.final

    def _begins_with_plan(self, parts: Sequence[Part]) -> bool:
        """A plan may read like a call: then another call follows it, and not what came of one."""
        said = [each.segment for each in parts[:2]]
        calls = [isinstance(each, str) and self.is_call(each) for each in said]
        return bool(said) and (not calls[0] or calls[1:] == [True])

    def _require_spelt(self, turn: Turn, ids: Sequence[int]) -> None:
        (text,) = turn[1]
        if text and self.rules.vocabulary.spelt(ids) != f"{self.speaker.chat.lead}{text}".encode():
            raise _unsupported(
                f"a call {str(text)[:60]!r} that its tokenizer reads otherwise",
                "give it as it was drawn",
            )

    def _conversation(self, example: Example) -> tuple[list[Turn], set[int], list[int]]:
        """The turns up to the last that is learned, the numbers of the answers that are, and of those
        that are calls."""
        parts = list(_until_learned(example.target))
        turns, learned, calls = self.begin(example.context), set[int](), list[int]()
        number = 0
        if self.plan and self._begins_with_plan(parts):
            plan, teaches = _text(parts[0]), parts.pop(0).learned
            learned |= {0} if teaches else set()
            turns += self.planned(plan) if parts else [answered(plan)]
            number = 1
        while parts:
            call, teaches = _text(parts[0]), parts.pop(0).learned
            stop = call == "" and bool(calls) and not parts
            if not (stop or self.is_call(call)):
                raise _unsupported(
                    f"a target with the text {call[:60]!r} where a call of a tool must be",
                    "give calls of the tools that the recipe names, each with what came of it",
                )
            learned |= {number} if teaches else set()
            calls.append(number)
            number += 1
            if parts and parts[0].learned:
                raise _unsupported(
                    "a target in which what came of a call is learned",
                    "a tool made it: give its part with learned=False",
                )
            turns += self.called(call, parts.pop(0).segment) if parts else [answered(call)]
        if not learned:
            raise _unsupported(
                "a target of which nothing is learned", "give a call that is learned"
            )
        return turns, learned, calls


def _unsupported(what: str, fix: str) -> Unsupported:
    return Unsupported(f"{what}: family tools learns the texts that it draws by, its calls; {fix}")


def _until_learned(target: Output) -> Output:
    """Without the parts after the last that is learned."""
    last = max((i for i, part in enumerate(target) if part.learned), default=-1)
    return target[: last + 1]


def _text(part: Part) -> str:
    if not isinstance(part.segment, str):
        raise _unsupported(
            "a target with a picture where a call of a tool must be",
            "give the call, and after it the picture with learned=False",
        )
    return part.segment


def _only_text(example: Example) -> str:
    if len(example.target) == 1 and example.target[0].learned:
        segment = example.target[0].segment
        if isinstance(segment, str):
            return segment
    raise _unsupported(
        f"a target of {len(example.target)} parts in the pattern {example.pattern}",
        "give one text that is learned",
    )
