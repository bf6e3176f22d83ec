"""What the model reads and answers, and the learned slots behind a question that is to be drawn.

Invariant: what is sampled is a prefix of what would be learned, and what training drops is what
unguided sampling leaves out. An answer is one text and the mark that ends it, or one drawing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from policies.checks import require_one
from policies.external.config import BridgeConfig
from policies.external.module import ExternalModule
from policies.interface import Condition, Context, Example, Picture, Segment, Unsupported
from policies.vision_language.chat import Read, asked
from policies.vision_language.policy import Lesson, VisionLanguagePolicy


class Layout:
    """For what `speaker` reads."""

    def __init__(
        self, speaker: VisionLanguagePolicy, config: BridgeConfig, module: ExternalModule
    ) -> None:
        self.speaker, self.config, self.module = speaker, config, module

    # Questions

    def question(self, context: Context, without: Collection[Condition] = ()) -> Read:
        """What is left out is read and refused all the same. Raises PromptError, ValueError."""
        whole = self.speaker.read([asked(*context)], True)
        kept = _kept(context, without)
        return whole if len(kept) == len(context) else self.speaker.read([asked(*kept)], True)

    def require_room(self, question: Read, context: Context) -> None:
        """Raises PromptError where a drawing behind the question would be too long."""
        self.speaker.require_room(question, self.drawing, context)

    # Drawings

    @property
    def drawing(self) -> int:
        """How many places a drawing takes."""
        return self.config.slots

    def begun(self, question: Read, fed: range = range(0)) -> Lesson:
        """The question with what follows it to draw: the learned slots, and `fed` embeddings by their
        number in the batch. Their places are what the bridge makes the drawing of."""
        following = (*self.module.slots, *(self.module.fed_from + number for number in fed))
        ids = (*question.ids, *following)
        return Lesson(replace(question, ids=ids), np.arange(len(question.ids), len(ids)))

    # Examples

    def text(self, example: Example, text: str) -> Lesson:
        """What is learned of a text. Raises PromptError, ValueError."""
        self.question(example.context)
        return self.speaker.told(_kept(example.context, example.dropped), text)

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """How many tokens each example takes. Raises PromptError, Unsupported."""
        return [
            len(self.text(example, target).read.ids)
            if isinstance(target, str)
            else len(self.question(example.context, example.dropped).ids) + self.drawing
            for example, target in zip(examples, targets_of(examples), strict=True)
        ]


def _kept(context: Context, without: Collection[Condition]) -> Context:
    return tuple(
        segment for segment in context
        if ("features" if isinstance(segment, Picture) else "text") not in without
    )  # fmt: skip


def targets_of(examples: Iterable[Example]) -> list[Segment]:
    """Texts alone or pictures alone: one pass uses the head or the bridge. Raises Unsupported."""
    targets = [require_one("external", example) for example in examples]
    if len({isinstance(target, Picture) for target in targets}) > 1:
        raise Unsupported(
            "targets that are a text here and a picture there: family external learns only one of the "
            "two in a step of one pattern; give each pattern one kind of target"
        )
    return targets
