"""What a Janus-Pro model reads and answers, as the ids that `policies.janus.module` numbers.

Invariant: a question is the public conversation up to where its answer begins, and an answer is
one text and its end token, or the codes of one drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from policies.checks import require_codes, require_length, require_one
from policies.interface import Context, Example, Picture, Segment, Unsupported
from policies.janus.module import JanusModule
from policies.janus.pictures import ImageTokenizer, pixels_of
from policies.janus.wording import Wording
from policies.sampling import Ids


class Layout:
    def __init__(self, module: JanusModule, vision: ImageTokenizer, wording: Wording) -> None:
        self.module, self.vision, self.wording = module, vision, wording

    def questions(
        self, contexts: Sequence[Context], drawing: bool
    ) -> tuple[list[Picture], list[Ids]]:
        """The pictures that the contexts look at, in the order of their features, and the ids of
        each context; each distinct one is read once."""
        looked, ids_of = self.looked(contexts)
        question = self.wording.question
        known = {each: question(each, ids_of, drawing) for each in dict.fromkeys(contexts)}
        return looked, [known[context] for context in contexts]

    def require_room(self, tokens: int, context: Context) -> None:
        require_length(tokens, self.module.max_positions, context)

    def answers(self, targets: Sequence[Segment]) -> list[Ids]:
        bare = [t for t in targets if isinstance(t, Picture) and t.codes is None]
        encoded = iter(
            self.vision.encode(pixels_of(bare, self.module.image_size)).cpu().numpy()
            if bare
            else ()
        )
        answers = []
        for target in targets:
            if isinstance(target, str):
                answers.append(self.wording.answer(target))
                continue
            codes = next(encoded) if target.codes is None else target.codes
            require_codes(codes, self.module.features, self.module.codes)
            answers.append(tuple((codes.astype(np.int64) + self.module.words).tolist()))
        return answers

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """How many tokens each example takes. Raises PromptError, Unsupported."""
        targets = targets_of(examples)
        drawing = any(isinstance(target, Picture) for target in targets)
        _, questions = self.questions([example.context for example in examples], drawing)
        return [
            len(question)
            + (len(self.wording.answer(t)) if isinstance(t, str) else self.module.features)
            for question, t in zip(questions, targets, strict=True)
        ]

    def looked(self, contexts: Iterable[Context]) -> tuple[list[Picture], dict[int, range]]:
        """Every picture in `contexts` once, and by its id() the ids of its features."""
        pictures = {id(p): p for context in contexts for p in context if isinstance(p, Picture)}
        count = self.module.features
        starts = range(0, count * len(pictures), count)
        ids = {
            key: range(-1 - at, -1 - at - count, -1)
            for key, at in zip(pictures, starts, strict=True)
        }
        return list(pictures.values()), ids


def targets_of(examples: Iterable[Example]) -> list[Segment]:
    """Texts alone or pictures alone: one pass uses one head. Raises Unsupported."""
    targets = [require_one("janus", example) for example in examples]
    if len({isinstance(target, Picture) for target in targets}) > 1:
        raise Unsupported(
            "targets that are a text here and a picture there: family janus learns only one of the "
            "two in a step of one pattern; give each pattern one kind of target"
        )
    return targets
