"""The settings of what is measured after every round."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

from actors.config import ActorsConfig, SolverConfig
from policies.config import Section
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
