"""What is said of a setting that cannot be, and of what can: pydantic's findings in our words.

Invariant: every refusal is one sentence that begins with the field's dotted name and says what is
allowed, by the very limits that refused.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from policies.constraints import KINDS, Must
from policies.errors import describe, printable

OUT_OF_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def no_field(name: str, known: Iterable[str]) -> str:
    """The sentence about a field that is unknown; the nearest is that of the likest whole name or
    last part: `lr` is near to trainer.lr."""
    name = name[:200]  # longer ones take minutes to compare

    def likeness(candidate: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, name, candidate).ratio()
        last = difflib.SequenceMatcher(None, name.split(".")[-1], candidate.split(".")[-1]).ratio()
        return max(whole, last), whole

    return f"there is no field {printable(name)}; the nearest is {max(known, key=likeness)}"


def no_section(name: str, value: object, example: str) -> str:
    """The sentence about a value where a section belongs."""
    return (
        f"{name or 'a configuration'} is {describe(value)}: it must be a section with fields such "
        f"as {example}"
    )


def sentence(section: type[BaseModel], name: str, variant: str, error: ValidationError) -> str:
    """The first of pydantic's complaints about a section, which a recipe has under `name`."""
    first = error.errors(include_url=False)[0]
    kind, value, context = first["type"], first["input"], first.get("ctx", {})
    prefix = f"{name}." if name else ""
    if not first["loc"]:
        return no_section(name, value, prefix + next(iter(section.model_fields)))
    own = str(first["loc"][0])
    name = prefix + own
    if kind == "extra_forbidden":
        return no_field(name, [prefix + field for field in section.model_fields])
    if kind.startswith("union_tag"):
        tag = str(context["discriminator"]).strip("'")
        known = context.get("expected_tags", "a text")
        return f"{name}.{tag} is {describe(value[tag])}: it must be one of {known}"
    field = section.model_fields[own]
    if kind == "model_attributes_type":
        return no_section(name, value, f"{name}.{field.discriminator}")
    if kind == "must":
        return f"{name} is {describe(value)}: it must be {context['rule']}"
    # A list of too few lacks an item, and that is said of the list.
    item = len(first["loc"]) > 1 and kind != "missing"
    takes = (
        allowed(item_type(field.annotation)) if item else allowed(field.annotation, field.metadata)
    )
    rule = takes.rule if kind in OUT_OF_BOUNDS else takes.kind
    whose = f" for {variant}" if variant else ""
    return f"{name} is {describe(value)}: it must be {rule}{whose}"


@dataclass(frozen=True)
class Allowed:
    """In words: `kind` of value, and the `rule` that it obeys (empty where the kind says all)."""

    kind: str
    rule: str


def allowed(hint: Any, metadata: Iterable[Any] = ()) -> Allowed:
    """What a field of the type `hint` takes."""
    limits: list[Any] = []
    for each in metadata:
        limits += each.metadata if isinstance(each, FieldInfo) else [each]
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


def item_type(hint: Any) -> Any:
    """The type of the items of a list, which may be one "or null"."""
    first = get_args(hint)[0]
    return first if get_origin(hint) is tuple else item_type(first)


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
        case {"le": most}:
            own.append(f"{most} or less")
        case {"lt": most}:
            own.append(f"below {most}")
    return " and ".join(own)
