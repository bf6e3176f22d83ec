"""Evaluation tasks by name: the YAML files of evaluation/tasks, and one's own by path.

Invariant: a task is read whole or refused as a recipe is, with the file, the line, the field, the value
and the fix. What begins with "task." among overrides is the task's, all else the run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import evaluation.tasks
from cluster.recipes.recipe import override_settings, read_settings, split_overrides
from cluster.recipes.settings import Settings, build
from cluster.recipes.shipped import Shipped
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.ready import ReadyTask, ready
from policies.config import Section
from policies.errors import ConfigError, UserError, describe
from trainer.config import RunConfig

SHIPPED = Shipped("task", Path(evaluation.tasks.__file__).parent)
PREFIX = "task."


class _TaskFile(Section):
    """A recipe's sections have a name; a task's file is one section without it."""

    task: TaskConfig


def load(name: str, overrides: Sequence[str] = ()) -> TaskConfig:
    """The task of that name, or of a file that ends in .yaml. Raises ConfigError."""
    own = read_settings(SHIPPED.file(name), ())
    settings: Settings = {PREFIX + key: value for key, value in own.items()}
    for override in overrides:
        settings |= override_settings(override)
    return build(_TaskFile, settings).task


def of_run(config: RunConfig) -> list[ReadyTask]:
    """The tasks that a recipe names, ready to be carried out. Raises ConfigError, which names the
    recipe's field as well as the task's."""
    found: dict[str, ReadyTask] = {}
    for name in config.evaluation.tasks:
        field = f"evaluation.tasks has {describe(name)}"
        try:
            task = ready(name, load(name), config.evaluation.task_limit or None)
        except UserError as error:
            raise ConfigError(f"{field}: {error}") from error
        if task.name in found:
            raise ConfigError(
                f"{field}, and another task is called {task.name} too: what they find would lie in "
                "one place, so give its file another name"
            )
        found[task.name] = task
    return list(found.values())


def split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The task's overrides, and the run's."""
    return split_overrides(overrides, PREFIX)


def listed() -> str:
    """Every task with its description, a line each."""
    return SHIPPED.listed(lambda name: load(name).description)
