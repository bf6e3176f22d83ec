"""A vision-language model that draws by calling tools, as a policy.

Invariant: what is learned is text alone: answers, plans and calls. Pictures come from tools; they are seen,
judged and never learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch

from policies.checks import require_options
from policies.config import ConfigError
from policies.interface import (
    Condition,
    Context,
    Example,
    LossKind,
    LossTerm,
    Output,
    PictureSampling,
)
from policies.teacher_forcing import totals
from policies.tools import drawing
from policies.tools.calls import Call
from policies.tools.grammar import grammar
from policies.tools.layout import Layout
from policies.tools.process import ToolProcess, tool_process
from policies.tools.specs import parse_specs, require_specs
from policies.tools.tokens import Rules, Vocabulary
from policies.vision_language import checkpoint
from policies.vision_language.policy import VisionLanguagePolicy

LEAST_SIDE, MOST_SIDE, STEP = 8, 4096, 8


class ToolsPolicy(VisionLanguagePolicy):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "tools"
    conditions: ClassVar[frozenset[Condition]] = frozenset()
    picture_options: ClassVar[frozenset[str]] = frozenset({"temperature", "size"})

    def __init__(
        self, loaded: checkpoint.Loaded, tools: Sequence[str] = (), turns: int = 2,
        call_tokens: int = 256, sides: Sequence[int] = (), plan: int = 0,
        tool_deadline: float = 120.0, tool_memory: float = 0.0, source: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__(loaded, source)
        self._named, self._sides, self._seconds = tuple(tools), tuple(sides), tool_deadline
        specs = parse_specs(tools)
        names = [spec.name for spec in specs] or ["none"]
        rules = Rules(
            grammar(names, self._sides, self.chat.lead),
            Vocabulary(loaded.small.tokenizer, self.module.words),
            self.chat.end,
        )
        if call_tokens < rules.fewest:
            raise ConfigError(
                f"policy.call_tokens is {call_tokens}: a call of these tools takes up to {rules.fewest} "
                "tokens if it is as short as can be; set it to that or more"
            )
        self.layout = Layout(self, rules, names, self._sides, turns, call_tokens, plan)
        call = Call(names[0], "a circle").text()
        if self.layout.respelt(call) != call:
            raise ConfigError(
                f"policy.path names a tokenizer that reads {call!r} as {self.layout.respelt(call)!r}: what "
                "was called could not be learned; use another model"
            )

    @classmethod
    def from_pretrained(
        cls, path: str | Path, dtype: str = "float32", *, tools: Sequence[str] = (), turns: int = 2,
        call_tokens: int = 256, sides: Sequence[int] = (), plan: int = 0,
        tool_deadline: float = 120.0, tool_memory: float = 0.0,
    ) -> Self:  # fmt: skip
        """Raises CheckpointError, ConfigError."""
        parse_specs(tools)  # before minutes go into weights
        loaded = checkpoint.load(Path(path), getattr(torch, dtype))
        made = cls(loaded, tools, turns, call_tokens, sides, plan, tool_deadline, source=Path(path))
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Of each row its calls with what came of them: a picture, or where a tool failed a text that says
        why. Raises PromptError, ConfigError, and ToolUnusable for a tool that is not as it was named."""
        require_options(self.family, self.picture_options, sampling)
        for how in sampling:
            _require_size(how.size)
        if not contexts:
            return []
        return drawing.draw(self.layout, self._tools(), self._sides, contexts, sampling, seeds)

    def _tools(self) -> dict[str, ToolProcess]:
        specs = require_specs(self._named)
        return {spec.name: tool_process(spec, self._seconds) for spec in specs}

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        lessons = [self.layout.lesson(example) for example in examples]
        nats = self.nats(lessons)
        summed = totals(nats, [len(lesson.places) for lesson in lessons])
        return {"text": LossTerm(summed, len(nats))}

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts = sum(len(self.layout.lesson(example).places) for example in examples)
        return {"text": counts} if examples else {}

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return [len(self.layout.lesson(example).read.ids) for example in examples]

    def call_log_probs(
        self, contexts: Sequence[Context], outputs: Sequence[Output]
    ) -> list[np.ndarray]:
        """The log-probability of every learned token of what was drawn, float32 [tokens] of each: of calls
        among the words that they were chosen from at temperature 1. Raises PromptError, Unsupported."""
        drawn = zip(contexts, outputs, strict=True)
        return self.scored([self.layout.lesson(Example(*each, "generation")) for each in drawn])


def _require_size(size: tuple[int, int]) -> None:
    fits = all(LEAST_SIDE <= side <= MOST_SIDE and side % STEP == 0 for side in size)
    if any(size) and not fits:
        raise ConfigError(
            f"size is {list(size)}: height and width of family tools are multiples of {STEP} from "
            f"{LEAST_SIDE} to {MOST_SIDE}, or 0 for the tool's own"
        )
