"""The instances that a task names: the set that ships, a suite's held-out prompts, or a file.

Invariant: they are the same, in the same order, for the same task. Kinds take turns, so that the first
ones are of all kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evaluation.suites import load_suite
from evaluation.tasks.config import OWN, TaskConfig
from evaluation.unicycle import OWN as OWN_FILE
from evaluation.unicycle.instances import Instance, InstanceError, Question, read


def task_instances(task: TaskConfig) -> list[Instance]:
    """Raises BenchmarkError for a file that cannot be read, ConfigError for an unknown suite."""
    if task.instances == OWN:
        return by_turns(read(OWN_FILE))
    if task.instances.endswith(".jsonl"):
        return by_turns(read(Path(task.instances)))
    suite = load_suite(task.instances)
    if not suite.categories:
        raise InstanceError(
            f"task.instances is {task.instances!r}, which has no prompts: name another suite, or a "
            "JSONL file"
        )
    return [
        Instance(
            f"{number:05d}",
            category,
            prompt,
            tuple(
                Question(q.kind, q.text, q.answer, q.options, q.keywords)  # type: ignore[arg-type]
                for q in suite.questions(prompt)
            ),
        )
        for number, (prompt, category) in enumerate(suite.prompts(task.prompts, task.seed))
    ]


def by_turns(instances: Sequence[Instance]) -> list[Instance]:
    """Returns first the first one of each kind, then the second ones, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for each in instances:
        ranked.append((seen[each.kind], each))
        seen[each.kind] += 1
    return [each for _, each in sorted(ranked, key=lambda pair: pair[0])]
