"""The settings of the filters: which drawings are kept from learning, whatever the Judge says of them.

Invariant: with the defaults there is no filter, and nothing is measured.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from policies.config import Section, require
from policies.constraints import Number, Text, Whole

BodyPart = Literal[
    "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED", "MALE_BREAST_EXPOSED", "ANUS_EXPOSED", "FEET_EXPOSED",
    "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED", "ARMPITS_EXPOSED", "FACE_MALE",
    "BELLY_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
]  # fmt: skip
"""What NudeNet can find."""


class HygieneConfig(Section):
    """Filters of drawings. They see pixels and prompts from outside the model, so they only leave out:
    nothing that they say is learned (docs/hygiene.md)."""

    section = "judge.hygiene"
    unsafe_from: Annotated[Number, Field(ge=0.2, le=1)] | None = None
    """A drawing in which NudeNet finds one of `unsafe_parts` with this confidence is left out; null: none is."""
    unsafe_parts: Annotated[tuple[BodyPart, ...], Field(strict=False, min_length=1)] = (
        "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED", "MALE_GENITALIA_EXPOSED",
        "BUTTOCKS_EXPOSED", "ANUS_EXPOSED",
    )  # fmt: skip
    """What is unsafe to show, by NudeNet's names."""
    clip: Text = ""
    """A folder with a CLIP as transformers saves it, for the two filters below; empty: neither."""
    clip_from: Annotated[Number, Field(ge=-1, le=1)] | None = None
    """The least cosine of a drawing and its prompt in CLIP's space; null: any."""
    aesthetic: Text = ""
    """A file with a linear head on that CLIP's pictures, as LAION publishes them for ViT-L/14."""
    aesthetic_from: Number | None = None
    """The least score by that head; null: any."""
    duplicate_bits: Annotated[Whole, Field(ge=0, le=106)] | None = None
    """A winner whose perceptual hash differs in at most so many of 106 bits from that of an earlier winner of the round teaches nothing; null: hashes are not taken."""

    @model_validator(mode="after")
    def _require_checkpoints(self) -> Self:
        used = (self.clip_from, self.aesthetic_from) != (None, None)
        require(bool(self.clip) == used, "judge.hygiene.clip", self.clip,
                "the folder of a CLIP with judge.hygiene.clip_from or aesthetic_from, and empty "
                "without")  # fmt: skip
        require(bool(self.aesthetic) == (self.aesthetic_from is not None),
                "judge.hygiene.aesthetic", self.aesthetic,
                "the file of a head with judge.hygiene.aesthetic_from, and empty without")  # fmt: skip
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The filters that are on, each by the name that records give."""
        given = {
            "unsafe": self.unsafe_from,
            "clip": self.clip_from,
            "aesthetic": self.aesthetic_from,
        }
        return tuple(name for name, bound in given.items() if bound is not None)

    @property
    def outside(self) -> str:
        """What a record says of the models that filter; empty where none does."""
        nudenet = "NudeNet" if self.unsafe_from is not None else ""
        names = filter(None, (nudenet, self.clip, self.aesthetic))
        return " and ".join(f"filter {name}" for name in names)
