"""The fields of a study's file that are not those of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from policies.config import Section, require
from policies.constraints import Natural, Number, ServedModel, Server, Text

MOST_SEEDS = 100


def _counted(value: Any) -> Any:
    """`seeds: 3` are 0, 1 and 2."""
    counts = type(value) is int and 0 < value <= MOST_SEEDS
    return tuple(range(value)) if counts else value


Seeds = Annotated[
    tuple[Natural, ...], BeforeValidator(_counted), Field(strict=False, min_length=1, max_length=MOST_SEEDS)
]  # fmt: skip


class StudyFields(Section):
    """What a study is, beside its arms and what its recipe has."""

    recipe: Text
    """The recipe that arms begin with, beside the study's file."""
    title: Text = ""
    """What it asks, for its table."""
    seeds: Seeds = (0, 1, 2)
    """Every arm is run with each; `3` is 0, 1 and 2."""
    axis: Literal["arm", "x", "version"] = "arm"
    """What its plot runs over: its arms, their `x`, or the versions of each run."""
    x_label: Text = ""
    """What `x` is."""
    server: Server = ""
    server_model: ServedModel = ""

    @model_validator(mode="after")
    def _require_seeds_once(self) -> Self:
        require(len(set(self.seeds)) == len(self.seeds), "seeds", list(self.seeds),
                "a list that names each seed once")  # fmt: skip
        return self


class ArmFields(Section):
    """What an arm is, beside the settings that it changes."""

    label: Text = ""
    """Its name in table and plot."""
    x: Number | None = None
    """Where it is on the plot's axis."""
    recipe: Text = ""
    """A recipe of its own, beside the study's file; empty: the study's."""
    graft: Text = ""
    """Another arm, on whose last versions this one is measured after the base's understanding parts were put back; nothing is trained."""
    external: Annotated[tuple[Literal["proposer", "judge"], ...], Field(strict=False)] = ()
    """The roles that the study's server plays."""
