"""What the training took from each judged group: asked of the trainer's own pure functions.

Invariant: this page cannot tell another story than the training did, since `reconstruct` and
`round_steps` are the very functions that the trainer runs on the same log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from actors.replay.records import JudgedGroup
from actors.roles.templates import Templates
from policies.interface import Example, ExampleKey, Pattern
from trainer.batches import round_steps
from trainer.config import RunConfig
from trainer.patterns import reconstruct, teaches

Taught = Counter[tuple[int, Pattern]]


def lessons(
    group: JudgedGroup, config: RunConfig, templates: Templates
) -> Mapping[Pattern, Example]:
    """What the group can teach: nothing, where a rejected one gives no judgement either."""
    if not teaches(group, config.reconstruction):
        return {}
    return reconstruct(group, config, templates)


def times_taught(
    config: RunConfig, round_: int, able: Iterable[tuple[int, Iterable[Pattern]]]
) -> Taught:
    """How often each (group, pattern) of a whole round is in a batch. `able` are the groups that
    teach in the order of the log with the patterns that they can give."""
    marks = [
        {pattern: Example((), (), pattern, ExampleKey(group=index)) for pattern in patterns}
        for index, patterns in able
    ]
    steps = round_steps(config.seed, round_, marks, config.reconstruction,
                        config.trainer.groups_per_step, config.trainer.epochs)  # fmt: skip
    return Counter(
        (example.key.group, pattern)
        for step in steps
        for pattern, batch in step.batch.items()
        for example in batch
    )
