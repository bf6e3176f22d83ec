"""Configuration sections are frozen models that refuse impossible values by name.

Invariant: a section that was constructed can be run with; every refusal is one ConfigError
that names the field, the value and what is allowed. That holds for recipes and for Python alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from policies.config_errors import sentence
from policies.constraints import Dtype, Natural, Positive, Text
from policies.errors import ConfigError, describe


class Section(BaseModel):
    """What is common to all sections: they are frozen, strict, and refuse in our words."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )
    section: ClassVar[str] = ""
    """The dotted name under which a recipe has it."""
    variant: ClassVar[str] = ""
    """Of several sections of that name, which one this is: "family tiny"."""

    @model_validator(mode="wrap")
    @classmethod
    def _refuse(cls, value: Any, construct: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return construct(value)
        except ValidationError as error:
            raise ConfigError(sentence(cls, cls.section, cls.variant, error)) from None


class NamedNumbers(Section):
    """A section of numbers that are looked up by name."""

    def __getitem__(self, name: str) -> float:
        found: float = getattr(self, name)
        return found

    def items(self) -> Iterable[tuple[Any, float]]:
        """The names, each with its number."""
        return dict(self).items()


SectionT = TypeVar("SectionT", bound=Section)


def changed(section: SectionT, **fields: object) -> SectionT:
    """A copy with other values, which are checked. Raises ConfigError."""
    return type(section)(**{**dict(section), **fields})


def sections_of(hint: Any) -> tuple[type[Section], ...]:
    """The sections that a field of this type can hold: none, one, or one for each family."""
    if isinstance(hint, type) and issubclass(hint, Section):
        return (hint,)
    return tuple(found for inner in get_args(hint) for found in sections_of(inner))


def require(condition: bool, field: str, value: object, rule: str) -> None:
    """Raises ConfigError unless `condition`: `require(lr > 0, "trainer.lr", lr, "above 0")`."""
    if not condition:
        raise ConfigError(f"{field} is {describe(value)}: it must be {rule}")


class PolicyConfig(Section):
    """Which model plays the roles."""

    section = "policy"
    family: Text
    """Which family of models it is of."""
    path: Text = "base"
    """A checkpoint folder; "base" is the one that ships with the family."""
    dtype: Dtype = "float32"
    """What replicas hold and sample in; learning keeps float32."""
    learned_with: ClassVar[tuple[str, ...]] = ()
    """The options that what is learned depends on, and not only what is sampled."""

    def options(self) -> dict[str, Any]:
        """The settings that only this family has, as its `from_pretrained` takes them."""
        return {name: value for name, value in self if name not in PolicyConfig.model_fields}


class TinyPolicyConfig(PolicyConfig):
    """The small model of the tests and of the default recipe."""

    variant = "family tiny"
    family: Literal["tiny"] = "tiny"
    """A decoder of 2.4 million parameters that samples and learns on CPUs."""
    dtype: Literal["float32"] = "float32"
    """What it learns and samples in."""


class JanusPolicyConfig(PolicyConfig):
    """Janus-Pro of DeepSeek."""

    variant = "family janus"
    family: Literal["janus"] = "janus"
    """Janus-Pro 1B and 7B."""


class BagelPolicyConfig(PolicyConfig):
    """BAGEL of ByteDance."""

    variant = "family bagel"
    family: Literal["bagel"] = "bagel"
    """BAGEL-7B-MoT, and what was trained from it."""
    training_shift: Positive | None = None
    """How far the times of the flow that are learned are shifted towards the noise (paper: 4; released script: 1); null: as the checkpoint's config.json says."""
    think: Natural = 0
    """Most tokens of a plan that is written before each drawing, and learned with it; 0: none is."""
    adapters: Literal["all", "generation"] = "all"
    """Which experts get adapters where trainer.lora_rank asks for some: both, or the one that draws."""
    learned_with = ("training_shift", "adapters")


class ExternalPolicyConfig(PolicyConfig):
    """A vision-language model of transformers that draws through a pipeline of diffusers."""

    variant = "family external"
    family: Literal["external"] = "external"
    """One with a bridge of queries, embeddings or signals, as its bridge.json says."""


def _tiny_by_default(value: object) -> object:
    return {"family": "tiny", **value} if isinstance(value, Mapping) else value


AnyPolicyConfig = Annotated[
    TinyPolicyConfig | JanusPolicyConfig | BagelPolicyConfig | ExternalPolicyConfig,
    Field(discriminator="family"),
    BeforeValidator(_tiny_by_default),
]
