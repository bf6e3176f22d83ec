"""How a judged group stands in a row of a segment.

Invariant: what is read back equals what was written in every field. The columns are always the
same, but for those of OPTIONAL, each of which is there only where a rollout of the slice needs it:
so groups that need none of them give the bytes that they gave before there were any.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from actors.replay.records import JudgedGroup, Judgement, Rollout, Unfit
from policies.errors import UserError
from policies.interface import Output, Part, Picture, PictureSampling, last_picture

# Measured at 512 x 512: 35 ms a picture where the default 6 takes 149 ms for 10 % fewer bytes.
PNG_LEVEL = 3

LATENTS = pa.struct(
    [
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("shape", pa.list_(pa.int64()), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)
"""A tensor of any dtype: numpy, and so Arrow, has no bfloat16."""
PICTURE = (
    pa.field("png", pa.binary(), nullable=False),
    pa.field("codes", pa.list_(pa.int32())),
    pa.field("latents", LATENTS),
)
PART = pa.struct(
    [
        pa.field("text", pa.string()),
        pa.field("learned", pa.bool_(), nullable=False),
        pa.field("picture", pa.struct(PICTURE)),
    ]
)
"""Without a text and a picture it is the drawing, which has columns of its own."""
OPTIONS = pa.struct(
    [
        pa.field("image_guidance", pa.float64(), nullable=False),
        pa.field("interval", pa.list_(pa.float64()), nullable=False),
        pa.field("renorm", pa.string(), nullable=False),
        pa.field("steps", pa.int32(), nullable=False),
        pa.field("shift", pa.float64(), nullable=False),
        pa.field("size", pa.list_(pa.int32()), nullable=False),
    ]
)
QUANTITIES = pa.struct(
    [pa.field(name, pa.string(), nullable=False) for name in ("target", "detected")]
)
SIGNAL = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
UNFIT = pa.struct([pa.field("filter", pa.string(), nullable=False), SIGNAL.field("value")])
OPTIONAL = (
    PICTURE[2],
    pa.field("options", OPTIONS),  # where one is not at its default
    # Where the output is not just one learned picture.
    pa.field("parts", pa.list_(pa.field("part", PART, nullable=False))),
    pa.field("quantities", QUANTITIES),  # where the Judge counted
    # Where the score was made of several.
    pa.field("signals", pa.list_(pa.field("signal", SIGNAL, nullable=False))),
    pa.field("unfit", UNFIT),  # where a filter left a drawing out
    pa.field("looks", pa.string()),  # where winners that look alike are sought
)
BASE = (
    pa.field("seed", pa.int64(), nullable=False),
    pa.field("temperature", pa.float64(), nullable=False),
    pa.field("guidance", pa.float64(), nullable=False),
    *PICTURE[:2],
    pa.field("score", pa.float64()),
    pa.field("analysis", pa.string(), nullable=False),
    pa.field("attempts", pa.int32(), nullable=False),
)
GROUP = (
    pa.field("round", pa.int32(), nullable=False),
    pa.field("index", pa.int64(), nullable=False),
    pa.field("category", pa.string(), nullable=False),
    pa.field("subcategory", pa.string(), nullable=False),
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("prompt_seed", pa.int64(), nullable=False),
    pa.field("weight_version", pa.int32(), nullable=False),
    pa.field("judge_version", pa.int32(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("external", pa.string(), nullable=False),
)
SCALARS = tuple(field.name for field in GROUP)
TEXTS = [
    *(field.name for field in BASE if field.name not in ("png", "codes")),
    "options", "parts.list.element.text", "parts.list.element.learned", "quantities",
    "signals", "unfit", "looks",
]  # fmt: skip
NO_PICTURE = b""
"""The png of a rollout without a picture."""
PictureOf = Callable[[int, dict[str, Any]], Picture]
"""The drawing of a rollout, by its number and its row."""


class SegmentError(UserError, ValueError):
    """A file of the replay log that is not what was written, or groups that cannot be stored."""


def schema_of(optional: Sequence[str]) -> pa.Schema:
    """The columns of a slice that needs these of OPTIONAL."""
    rollout = pa.struct([*BASE, *(field for field in OPTIONAL if field.name in optional)])
    rollouts = pa.list_(pa.field("rollout", rollout, nullable=False))
    return pa.schema([*GROUP, pa.field("rollouts", rollouts, nullable=False)])


def schema_for(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The columns that `rows`, of `row_of`, need."""
    rollouts = [rollout for row in rows for rollout in row["rollouts"]]
    needed = [f.name for f in OPTIONAL if any(r[f.name] is not None for r in rollouts)]
    return schema_of(needed)


SCHEMA = schema_of(())
"""The columns that every segment has."""


def is_schema(schema: pa.Schema) -> bool:
    """Whether this program writes segments with these columns."""
    return schema.equals(schema_of(_optional(schema)))


def text_columns(schema: pa.Schema) -> list[str]:
    """All columns of a segment but those of pictures."""
    there = {*(field.name for field in BASE), *_optional(schema)}
    texts = [name for name in TEXTS if name.split(".")[0] in there]
    return [*SCALARS, *(f"rollouts.list.element.{name}" for name in texts)]


def _optional(schema: pa.Schema) -> list[str]:
    kind = schema.field("rollouts").type if "rollouts" in schema.names else None
    inside = kind.value_type if isinstance(kind, pa.ListType) else None
    names = [field.name for field in inside] if isinstance(inside, pa.StructType) else []
    return [field.name for field in OPTIONAL if field.name in names]


# Writing


def row_of(group: JudgedGroup) -> dict[str, Any]:
    """Raises SegmentError for a picture that cannot be stored."""
    row = {name: getattr(group, name) for name in SCALARS}
    where = f"group {group.index}"
    rollouts = [_packed(r, f"{where}, rollout {k}") for k, r in enumerate(group.rollouts)]
    return {**row, "rollouts": rollouts}


def _packed(rollout: Rollout, where: str) -> dict[str, Any]:
    judgement, picture, how = rollout.judgement, rollout.picture, rollout.sampling
    counted = judgement.quantities
    plain = how == PictureSampling(how.temperature, how.guidance)
    options = {field.name: getattr(how, field.name) for field in OPTIONS}
    drawn = {"png": NO_PICTURE, "codes": None, "latents": None}
    return {
        "seed": rollout.seed,
        "temperature": how.temperature,
        "guidance": how.guidance,
        **(drawn if picture is None else _picture_row(picture, where)),
        "score": judgement.score,
        "analysis": judgement.analysis,
        "attempts": judgement.attempts,
        "options": None if plain else options,
        "parts": _parts(rollout.output, where),
        "quantities": counted and dict(zip(("target", "detected"), counted, strict=True)),
        "signals": [{"name": n, "value": v} for n, v in judgement.signals] or None,
        "unfit": rollout.unfit and rollout.unfit._asdict(),
        "looks": rollout.looks or None,
    }


def _parts(output: Output, where: str) -> list[dict[str, Any]] | None:
    """None of an output that is one learned picture."""
    drawn = last_picture(output)
    if drawn is not None and output == (Part(drawn),):
        return None
    made = []
    for part in output:
        text = part.segment if isinstance(part.segment, str) else None
        other = part.segment if isinstance(part.segment, Picture) else None
        row = None if other is None or other is drawn else _picture_row(other, where)
        made.append({"text": text, "learned": part.learned, "picture": row})
    return made


def _picture_row(picture: Picture, where: str) -> dict[str, Any]:
    codes, latents = picture.codes, picture.latents
    if codes is not None and (codes.dtype != np.int32 or codes.ndim != 1):
        raise SegmentError(f"{where}: codes are {codes.dtype} {codes.shape}, not int32 [tokens]")
    stored = None if latents is None else _latents_row(latents, where)
    return {"png": _png(picture.pixels, where), "codes": codes, "latents": stored}


def _png(pixels: np.ndarray, where: str) -> bytes:
    fits = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    if not fits or 0 in pixels.shape:
        raise SegmentError(
            f"{where}: pixels are {pixels.dtype} {pixels.shape}, not uint8 [height, width, 3]"
        )
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(sink, format="PNG", compress_level=PNG_LEVEL)
    return sink.getvalue()


def _latents_row(latents: torch.Tensor, where: str) -> dict[str, Any]:
    if latents.device.type != "cpu" or latents.layout != torch.strided or latents.is_quantized:
        raise SegmentError(
            f"{where}: latents are {latents.layout} on {latents.device}, not a dense tensor on the CPU"
        )
    flat = latents.detach().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
    name = str(latents.dtype).removeprefix("torch.")
    return {"dtype": name, "shape": list(latents.shape), "data": data}


# Reading


def group_of(row: Mapping[str, Any], picture: PictureOf | None = None) -> JudgedGroup:
    """`picture` stands in for drawings that were not read. Foreign bytes make this raise almost
    anything."""
    rollouts = tuple(_rollout(k, packed, picture) for k, packed in enumerate(row["rollouts"]))
    return JudgedGroup(**{name: row[name] for name in SCALARS}, rollouts=rollouts)


def _rollout(number: int, packed: dict[str, Any], picture: PictureOf | None) -> Rollout:
    options = packed.get("options") or {}
    for name in ("interval", "size"):
        if name in options:
            options[name] = tuple(options[name])
    counted = packed.get("quantities")
    quantities = (counted["target"], counted["detected"]) if counted else None
    left_out = packed.get("unfit")
    return Rollout(
        seed=packed["seed"],
        sampling=PictureSampling(packed["temperature"], packed["guidance"], **options),
        output=_output(number, packed, picture),
        judgement=Judgement(
            packed["analysis"],
            packed["score"],
            packed["attempts"],
            quantities,
            tuple((each["name"], each["value"]) for each in packed.get("signals") or ()),
        ),
        unfit=Unfit(**left_out) if left_out else None,
        looks=packed.get("looks") or "",
    )


def _output(number: int, packed: dict[str, Any], picture: PictureOf | None) -> Output:
    def drawn(row: dict[str, Any] | None) -> Picture:
        return picture(number, packed) if picture else _picture(row or packed)

    if packed.get("parts") is None:
        return (Part(drawn(None)),)
    return tuple(
        Part(drawn(part.get("picture")) if part["text"] is None else part["text"], part["learned"])
        for part in packed["parts"]
    )


def _picture(packed: dict[str, Any]) -> Picture:
    with Image.open(io.BytesIO(packed["png"]), formats=("PNG",)) as image:
        if image.mode != "RGB":
            raise ValueError(f"a picture is {image.mode}, not RGB")
        pixels = np.array(image)
    codes, latents = packed["codes"], packed.get("latents")
    return Picture(
        pixels,
        None if codes is None else np.array(codes, dtype=np.int32),
        None if latents is None else _latents(latents),
    )


def _latents(stored: Mapping[str, Any]) -> torch.Tensor:
    dtype = getattr(torch, stored["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"latents are of dtype {stored['dtype']}")
    data = stored["data"]
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.reshape(stored["shape"])
