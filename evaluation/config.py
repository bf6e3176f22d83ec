"""The settings of what is measured after every round."""

from __future__ import annotations

from typing import Annotated, Protocol, Self

from pydantic import Field, model_validator

from actors.config import ActorsConfig, SolverConfig
from policies.config import Section, require
from policies.constraints import Natural, NotNegative, Temperature, Text, Whole

Some = Annotated[Whole, Field(ge=1, le=100_000)]
Temperatures = Annotated[tuple[Temperature, ...], Field(strict=False, min_length=1)]


class EvaluationConfig(Section):
    """The same held-out prompts and scenes in every round and in every run with the same `seed`."""

    section = "evaluation"
    suite: Text = "tiny_world"
    """A module of evaluation/suites."""
    prompts: Some = 500
    """Held-out prompts that are drawn."""
    scenes: Some = 200
    """Rendered scenes that are captioned and judged."""
    prompts_per_task: Some = 50
    """Prompts that a replica draws at once."""
    temperature: Temperature = 1.0
    """Of sampling drawings; 0 is greedy."""
    guidance: NotNegative | None = None
    """Classifier-free guidance of measured drawings; null: the mean of solver.guidance."""
    twins: Annotated[Whole, Field(ge=0, le=100_000)] = 0
    """Scenes about which a question is asked once more, and again about a twin in which one thing is another: who answers without looking is wrong about one of them; 0: none."""
    seed: Whole = 1234
    """Prompts and scenes follow from it."""
    planted: Annotated[Whole, Field(ge=0, le=100_000)] = 100
    """Accepted drawings of a round that its Judge sees once more, with their own prompt and with one of which a word is another: how well it tells right from wrong; 0: none."""
    selection_prompts: Annotated[Whole, Field(ge=0, le=100_000)] = 200
    """Other held-out prompts, on which the base and the last version each choose the best setting; 0: they are measured at the fixed one alone."""
    temperatures: Temperatures = (1.0, 0.7, 0.5, 0.3, 0.0)
    """What the best setting is chosen among; of equal ones the first."""
    guidances: Annotated[tuple[NotNegative, ...], Field(strict=False)] = ()
    """Each is tried with every temperature; empty: the fixed guidance alone."""
    steps: Annotated[tuple[Natural, ...], Field(strict=False)] = ()
    """Steps of a flow's solver, each tried with all of these; empty: solver.steps alone."""
    best_every: Natural = 0
    """Every so many versions, and not only the base and the last one, are measured at their own best setting; 0: these two alone."""
    passes: Annotated[Whole, Field(ge=0, le=1000)] = 0
    """How often the base and the last version each draw every held-out prompt, for pass@k beside pass@1: at their best setting above temperature 0, or without selection prompts at the fixed one; 0: not at all."""
    tasks: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """What `unicorn-ray evaluate --list` names, or YAML files of one's own: versions are measured by these tasks too, by the same pools, at the fixed setting."""
    tasks_every: Natural = 1
    """Every so many versions, and the base and the last one, are measured by the tasks; 0: these two alone."""
    task_limit: Natural = 0
    """Of each task only the first so many instances, which are of all its kinds; 0: all."""

    @model_validator(mode="after")
    def _require_tries_that_differ(self) -> Self:
        among = self.temperatures if self.selection_prompts else (self.temperature,)
        name = "temperatures" if self.selection_prompts else "temperature"
        require(not self.passes or max(among) > 0, f"evaluation.{name}", getattr(self, name),
                f"above 0 where evaluation.passes is {self.passes}: greedy tries are alike")  # fmt: skip
        return self


class RunSettings(Protocol):
    """What every measurement needs of a run's configuration."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def solver(self) -> SolverConfig: ...
    @property
    def actors(self) -> ActorsConfig: ...


class Settings(RunSettings, Protocol):
    """What measuring a version needs of a run's configuration."""

    @property
    def evaluation(self) -> EvaluationConfig: ...
