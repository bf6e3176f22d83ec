"""What a setting may be: types that carry their own limits.

Invariant: a limit is written once, in a field's type; refusals and docs/recipes.md are made from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# What is larger is a mistake, and would overflow where it is multiplied, waited for or stored.
MOST = 1e9
MOST_WHOLE = 2**63 - 1


@dataclass(frozen=True)
class Must:
    """A limit that pydantic has no word for; `rule` completes the sentence "it must be ..."."""

    holds: Callable[[Any], bool]
    rule: str

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(kind))

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise PydanticCustomError("must", "{rule}", {"rule": self.rule})
        return value


def _can_be_a_path(text: str) -> bool:
    """All texts in a recipe are names or paths, and no disk takes any other."""
    short = len(text) <= 1000
    return short and text.isprintable() and all(len(os.fsencode(p)) < 256 for p in text.split("/"))


def _can_be_gpus(value: float) -> bool:
    return value == 0 or (value >= 0.0001 if value < 1 else value == int(value))


def _can_be_a_resource(name: str) -> bool:
    own = ("CPU", "GPU", "TPU", "memory", "object_store_memory")
    return re.fullmatch(r"[A-Za-z][\w-]*|", name, re.ASCII) is not None and name not in own


def _can_be_a_server(url: str) -> bool:
    plain = re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", url, re.ASCII)
    return not url or plain is not None


KINDS: dict[Any, str] = {
    int: "a whole number below 2**63",
    float: f"a finite number within {MOST:g} of 0",
    str: "a text (quote it) that can be a name or a path",
    bool: "true or false",
}
Whole = Annotated[int, Must(lambda value: abs(value) <= MOST_WHOLE, KINDS[int])]
Number = Annotated[float, Must(lambda value: abs(value) <= MOST, KINDS[float])]
Text = Annotated[str, Must(_can_be_a_path, KINDS[str])]

Count = Annotated[Whole, Field(ge=1)]
Natural = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Cpus = Annotated[
    Number,
    Must(lambda value: value >= 0.0001, "from 0.0001 on, the least that Ray counts"),
    Field(description="CPUs that Ray reserves for each."),
]
Gpus = Annotated[
    Number,
    Must(
        _can_be_gpus,
        "0, a fraction below 1 (from 0.0001 on), or a whole number, as Ray counts GPUs",
    ),
    Field(description="GPUs that Ray reserves for each: with a part of one, a replica samples on it; with none, on its CPUs."),
]  # fmt: skip
Node = Annotated[
    Text,
    Must(
        _can_be_a_resource, "empty, or the name of a custom resource (letters, digits, _ and -)"
    ),
    Field(description="A custom resource: only nodes that offer it are used, as far as their CPUs and GPUs allow; empty: any node."),
]  # fmt: skip
Server = Annotated[
    Text,
    Must(_can_be_a_server, "empty, or an address such as http://host:8000/v1, without a name or a key"),
    Field(description="An OpenAI-compatible server that plays the role with weights that do not follow the run, named in every record; empty: the run's own model."),
]  # fmt: skip
ServedModel = Annotated[
    Text, Field(description="Which of the server's models plays the role; empty without a server.")
]
# One that is all but 0 would make infinities of logits.
Temperature = Annotated[
    Number, Must(lambda value: value == 0 or value >= 0.001, "0, or from 0.001 on")
]
# No Literal[0, 1]: that takes true for 1.
ZeroOrOne = Annotated[Whole, Must(lambda value: value in (0, 1), "0 or 1")]
Dtype = Literal["float32", "bfloat16"]
