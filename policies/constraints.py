"""What a setting may be: types that carry their own limits, and the limits in words.

Invariant: a limit is written once, at the field; refusals and docs/recipes.md are made from it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
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
# One that is all but 0 would make infinities of logits.
Temperature = Annotated[
    Number, Must(lambda value: value == 0 or value >= 0.001, "0, or from 0.001 on")
]
# No Literal[0, 1]: that takes true for 1.
ZeroOrOne = Annotated[Whole, Must(lambda value: value in (0, 1), "0 or 1")]
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Allowed:
    """In words: `kind` of value, and the `rule` that it obeys (empty where the kind says all)."""

    kind: str
    rule: str


def allowed(hint: Any, metadata: Iterable[Any] = ()) -> Allowed:
    """What a field of the type `hint` takes."""
    limits = [part for each in metadata for part in (each.metadata if isinstance(each, FieldInfo) else [each])]  # fmt: skip
    inner = get_args(hint)
    if get_origin(hint) is Annotated:
        return allowed(inner[0], [*inner[1:], *limits])
    if get_origin(hint) in (Union, UnionType):
        (own,) = (each for each in inner if each is not NoneType)
        found = allowed(own, limits)
        return Allowed(f"{found.kind}, or null", found.rule and f"{found.rule}, or null")
    if get_origin(hint) is Literal:
        return Allowed(" or ".join(json.dumps(choice) for choice in inner), "")
    if get_origin(hint) is tuple:
        return _allowed_list(inner, limits)
    return Allowed(KINDS.get(hint, "a section"), _rule(limits, KINDS.get(hint)))


def _allowed_list(items: tuple[Any, ...], limits: list[Any]) -> Allowed:
    each = allowed(items[0])
    least = max((getattr(limit, "min_length", 0) or 0 for limit in limits), default=0)
    count = (
        f" of {len(items)}" if items[-1] is not Ellipsis else f" of {least} or more" * (least > 0)
    )
    return Allowed(f"a list{count}, each {each.kind}", each.rule and f"each {each.rule}")


def _rule(limits: list[Any], kind: str | None) -> str:
    own = [limit.rule for limit in limits if isinstance(limit, Must) and limit.rule != kind]
    bounds = {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for limit in limits
        for name in ("gt", "ge", "lt", "le")
        if (value := getattr(limit, name, None)) is not None
    }
    match bounds:
        case {"ge": least, "le": most}:
            own.append(f"from {least} to {most}")
        case {"ge": least, "lt": most}:
            own.append(f"in [{least}, {most})")
        case {"gt": least, "le": most}:
            own.append(f"in ({least}, {most}]")
        case {"ge": least}:
            own.append(f"{least} or more")
        case {"gt": least}:
            own.append(f"above {least}")
    return " and ".join(own)
