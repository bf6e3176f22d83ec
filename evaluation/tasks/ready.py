"""A task that was read, with all that it needs to be carried out on some weights.

Invariant: who is ready has instances, and a server's client where a server judges: what is missing was
refused before. What drawings and answers follow from is told in one way for a run and for a command.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from actors.config import JudgeConfig
from actors.pool.pool import Pool
from evaluation.config import Settings as MeasureSettings
from evaluation.judges.asking import Judge
from evaluation.judges.itself import ItselfJudge, ItselfReading
from evaluation.judges.ocr import Ocr
from evaluation.judges.server import ServerJudge
from evaluation.selection import fixed_sampling
from evaluation.suites import load_suite
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.instances import task_instances
from evaluation.unicycle.instances import Instance, digest
from policies.config import PolicyConfig


class Settings(MeasureSettings, Protocol):
    """What a task needs of a run's configuration."""

    @property
    def policy(self) -> PolicyConfig: ...
    @property
    def judge(self) -> JudgeConfig: ...


@dataclass(frozen=True)
class ReadyTask:
    """`asked` are the first of `instances`. `server` is None unless a server judges, `ocr` unless the task
    wants one."""

    name: str
    task: TaskConfig
    instances: tuple[Instance, ...]
    asked: tuple[Instance, ...]
    server: ServerJudge | None
    ocr: Ocr | None

    def judge(self, judges: Pool, config: Settings, weights: str, version: int = 0) -> Judge | None:
        """Who judges the answers of `version`, whose weights have this digest; None for exact rules."""
        if self.task.judge != "itself":
            return self.server
        own = config.policy.facts() | {"max_tokens": config.judge.max_tokens}
        who, deadline = f"{weights} {json.dumps(own)}", config.actors.task_deadline
        if not self.task.bare:
            return ItselfJudge(judges, who, deadline, version)
        shown = load_suite(self.task.instances).shown
        return ItselfReading(judges, who, deadline, shown, version)

    def facts(self, config: Settings, weights: str) -> dict[str, Any]:
        """What drawings and answers follow from; not the judge, which may be another one next time,
        and not how many are drawn."""
        return {
            "task": self.name,
            "instances": digest(self.instances),
            "bare": self.task.bare,
            **config.policy.facts(),
            "weights": weights,
            "seed": config.seed,
            "templates": config.actors.templates,
            "prompts_per_task": config.evaluation.prompts_per_task,
            "sampling": asdict(fixed_sampling(config)),
            "answers_of": config.judge.max_tokens,
        }


def task_name(named: str) -> str:
    """What a task is called that a recipe or a command names: a file without its folder and ending."""
    return Path(named).stem


def ready(name: str, task: TaskConfig, limit: int | None) -> ReadyTask:
    """`name` is that of the task or of its file; only the first `limit` instances are asked. Raises
    BenchmarkError, ConfigError, JudgeError."""
    instances = tuple(task_instances(task))
    server = None
    if task.judge == "server":
        server = ServerJudge(task.judge_server, task.judge_model, task.at_once)
    ocr = Ocr() if task.ocr else None
    return ReadyTask(task_name(name), task, instances, instances[:limit], server, ocr)
