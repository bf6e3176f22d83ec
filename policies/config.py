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
from policies.constraints import Count, Dtype, Natural, NotNegative, Positive, Text
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
    weights_in: ClassVar[tuple[str, ...]] = ()
    """The options that name files or folders with weights beside the checkpoint, "" for none."""

    def options(self) -> dict[str, Any]:
        """The settings that only this family has, as its `from_pretrained` takes them."""
        return {name: value for name, value in self if name not in PolicyConfig.model_fields}

    def facts(self) -> dict[str, Any]:
        """What is drawn and written follows from, beside the weights: not where those are."""
        own = {name: value for name, value in self.options().items() if name not in self.weights_in}
        return {"family": self.family, "dtype": self.dtype, "options": own}


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


class ShowoPolicyConfig(PolicyConfig):
    """Show-o of Show Lab."""

    variant = "family showo"
    family: Literal["showo"] = "showo"
    """Show-o at 512 x 512 or 256 x 256 pixels, which draws by unmasking."""
    positions: Count = 4096
    """Most tokens of a context with its answer. Its language model was trained with 2,048, which two pictures of 512 x 512 pixels fill: what is beyond has positions that it never saw."""


class Emu3PolicyConfig(PolicyConfig):
    """Emu3 of BAAI."""

    variant = "family emu3"
    family: Literal["emu3"] = "emu3"
    """Emu3-Stage1, and what was trained from it."""
    wording: Literal["plain", "chat"] = "plain"
    """How questions are put: as they are, to Emu3-Stage1, or within the words that Emu3-Chat learned."""
    positions: Natural = 0
    """Most tokens of a sequence (released training script: 10240); 0: as the checkpoint's config.json says."""
    learned_with = ("wording", "positions")


class Showo2PolicyConfig(PolicyConfig):
    """Show-o2 of Show Lab, and Transfusion as that without its head of layers and its semantic ones."""

    variant = "family showo2"
    family: Literal["showo2"] = "showo2"
    """Show-o2 1.5B and 7B, and what was trained from them."""
    training_shift: Positive | None = None
    """How far the times of the flow that are learned are shifted towards the noise; null: by how many tokens a drawing has, as the released code does (1.8 at 432 x 432 pixels)."""
    learned_with = ("training_shift",)


class ToolsPolicyConfig(PolicyConfig):
    """A vision-language model of transformers that draws by calling tools."""

    variant = "family tools"
    family: Literal["tools"] = "tools"
    """Qwen2-VL, Qwen2.5-VL, LLaVA and others that see alike; tools draw for them."""
    tools: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """The tools that calls may name, each as NAME=KIND:WHERE?OPTION=VALUE: diffusers:FOLDER, endpoint:MODEL (its address in the environment's OPENAI_BASE_URL), or python:MODULE:FUNCTION."""
    turns: Count = 2
    """Most calls of a drawing: after each the model sees what came of it, and may call again."""
    call_tokens: Count = 256
    """Most tokens of a call."""
    sides: Annotated[tuple[Count, ...], Field(strict=False)] = ()
    """Heights and widths in pixels that a call may ask for; none: it asks for no size."""
    plan: Natural = 0
    """Most tokens of a plan that is written before the first call, and learned with it; 0: none is."""
    tool_deadline: Positive = 120.0
    """Seconds within which a call must be done; a tool that takes longer is killed and started anew."""
    tool_memory: NotNegative = 0.0
    """GiB that the tools take beside each Solver, for --dry-run: they are not looked into."""
    learned_with = ("tools", "call_tokens", "sides", "plan")


class ChameleonPolicyConfig(PolicyConfig):
    """Chameleon of Meta, and Anole, which was trained from it to draw."""

    variant = "family chameleon"
    family: Literal["chameleon"] = "chameleon"
    """Anole-7b, and other checkpoints of Chameleon in transformers' layout."""
    decoder: Text = ""
    """A folder or file (vqgan.ckpt) with the image decoder, for a checkpoint that has none and so cannot draw; empty: the checkpoint's own."""
    weights_in = ("decoder",)


class ExternalPolicyConfig(PolicyConfig):
    """A vision-language model of transformers that draws through a pipeline of diffusers."""

    variant = "family external"
    family: Literal["external"] = "external"
    """One with a bridge of queries, embeddings or signals, as its bridge.json says."""


def _tiny_by_default(value: object) -> object:
    return {"family": "tiny", **value} if isinstance(value, Mapping) else value


AnyPolicyConfig = Annotated[
    TinyPolicyConfig
    | JanusPolicyConfig
    | BagelPolicyConfig
    | ShowoPolicyConfig
    | Showo2PolicyConfig
    | ChameleonPolicyConfig
    | Emu3PolicyConfig
    | ExternalPolicyConfig
    | ToolsPolicyConfig,
    Field(discriminator="family"),
    BeforeValidator(_tiny_by_default),
]
