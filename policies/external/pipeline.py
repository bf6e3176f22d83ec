"""What the small files of a diffusers pipeline say: what it is conditioned on, and what it draws.

Invariant: a pipeline that wants more than one sequence of embeddings is refused here, before any of
its weights is read. diffusers is imported by nobody but this module.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.config import ConfigError
from policies.errors import describe, one_line
from policies.interface import CheckpointError

INDEX = "model_index.json"
DENOISERS = ("unet", "transformer")
WIDTHS = ("caption_channels", "joint_attention_dim", "cross_attention_dim")
"""Where a denoiser's config.json says how wide the embeddings are that condition it: the first that
is there, for some have a width inside besides."""
MORE = (
    "addition_embed_type", "class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim",
    "guidance_embeds", "use_additional_conditions",
)  # fmt: skip
"""What a denoiser may be conditioned on besides, by its config.json."""
GIVEN = {"prompt_embeds", "negative_prompt_embeds"}
ASKED = GIVEN | {
    "generator", "guidance_scale", "num_inference_steps", "height", "width", "output_type"
}  # fmt: skip
FIX = (
    "use one that is conditioned on a single sequence of embeddings, as Stable Diffusion 1.x and 2.x or "
    "Sana are"
)
AGAIN = "copy it again from the pipeline"


@dataclass(frozen=True)
class Described:
    """A pipeline by its small files. `kind` and `model` are the classes of the pipeline and of its
    denoiser, which is its component `denoiser`; `config` is the denoiser's. Drawings have `channels`
    x `side` x `side` latents and `pixels` pixels each way. It is conditioned on embeddings of
    `width` numbers, with a mask beside them where it is `masked`."""

    folder: Path
    index: Mapping[str, Any]
    kind: Any
    denoiser: str
    model: Any
    config: Mapping[str, Any]
    width: int
    channels: int
    side: int
    pixels: int
    masked: bool

    @property
    def values(self) -> int:
        """How many latent values a drawing has."""
        return self.channels * self.side**2


def library() -> Any:
    """The package diffusers. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise ConfigError(
            f"policy.family is 'external', which draws with diffusers ({one_line(error)}): pip "
            "install 'unicorn-ray[external]', or choose another family"
        ) from error


def described(folder: Path) -> Described:
    """The pipeline in `folder`. Raises CheckpointError, ConfigError."""
    index = _read(folder / INDEX)
    kind = _pipeline_class(folder / INDEX, index)
    name = next((each for each in DENOISERS if _class(index, each)), None)
    if name is None:
        raise CheckpointError(f"{folder / INDEX} names none of {' and '.join(DENOISERS)}; {FIX}.")
    file = folder / name / "config.json"
    config = _read(file)
    model = getattr(library(), _class(index, name), None)
    if model is None:
        raise CheckpointError(
            f"{folder / INDEX} has a {name} of class {describe(_class(index, name))}, which diffusers "
            f"{library().__version__} does not know; {FIX}."
        )
    _require_plain(file, name, model, config)
    wide = next((w for w in WIDTHS if config.get(w) is not None), None)
    channels, side = config.get("in_channels"), config.get("sample_size")
    vae = _read(folder / "vae" / "config.json")
    halved = (
        len(_listed(vae, "block_out_channels") or _listed(vae, "encoder_block_out_channels")) - 1
    )
    for field, value in (
        ("in_channels", channels),
        ("sample_size", side),
        (wide or WIDTHS[-1], config.get(wide or "")),
    ):
        if type(value) is not int or value < 1:
            raise CheckpointError(
                f"{file} has {field}={describe(value)}: family external reads one whole number there; {FIX}."
            )
    assert wide is not None and channels is not None and side is not None
    masked = "prompt_attention_mask" in inspect.signature(kind.__call__).parameters
    return Described(
        folder, index, kind, name, model, config, config[wide], channels, side, side * 2**halved, masked
    )  # fmt: skip


def _pipeline_class(file: Path, index: Mapping[str, Any]) -> Any:
    """Refuses those that ask for more, by the arguments of their `__call__`."""
    name = index.get("_class_name")
    kind = getattr(library(), name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, library().DiffusionPipeline)):
        raise CheckpointError(
            f"{file} is of class {describe(name)}, which is no pipeline of diffusers "
            f"{library().__version__}; {FIX}."
        )
    takes = set(inspect.signature(kind.__call__).parameters)
    more = sorted(n for n in takes - GIVEN if n.endswith(("prompt_embeds", "prompt_embeds_2")))
    if more or not takes >= ASKED:
        wants = f"wants {more[0]} too" if more else f"takes no {min(ASKED - takes)}"
        raise CheckpointError(
            f"{file} is of class {name}, which {wants}, and a bridge gives one sequence of embeddings; {FIX}."
        )
    return kind


def _require_plain(file: Path, name: str, model: Any, config: Mapping[str, Any]) -> None:
    """Refuses a denoiser that is given more than latents, a time and embeddings."""
    more = [field for field in MORE if config.get(field)]
    _, first, *others = inspect.signature(model.forward).parameters.values()
    known = {first.name, "timestep", "encoder_hidden_states"}
    more += [
        p.name
        for p in others
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in known
    ]
    if more:
        raise CheckpointError(
            f"{file} describes a {name} that wants {more[0]} too, and a bridge gives one sequence of "
            f"embeddings; {FIX}."
        )
    if config.get("in_channels") != config.get("out_channels"):
        raise CheckpointError(
            f"{file} has in_channels={describe(config.get('in_channels'))} and out_channels="
            f"{describe(config.get('out_channels'))}: family external learns one that has as many; {FIX}."
        )


def _class(index: Mapping[str, Any], component: str) -> str:
    """The name of a component's class, or nothing where it has none."""
    entry = _listed(index, component)
    return entry[1] if len(entry) == 2 and isinstance(entry[1], str) else ""


def class_of(described: Described, component: str) -> Any:
    """The class of a component, of diffusers or of transformers. Raises CheckpointError."""
    entry = _listed(described.index, component)
    if len(entry) == 2 and entry[0] in ("diffusers", "transformers") and isinstance(entry[1], str):
        home = library() if entry[0] == "diffusers" else importlib.import_module("transformers")
        if found := getattr(home, entry[1], None):
            return found
    raise CheckpointError(
        f"{described.folder / INDEX} has {component}={describe(entry)}, which is no class of diffusers or "
        f"transformers; {AGAIN}."
    )


def _listed(fields: Mapping[str, Any], name: str) -> list[Any]:
    found = fields.get(name)
    return list(found) if isinstance(found, list | tuple) else []


def _read(file: Path) -> dict[str, Any]:
    try:
        fields = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}); {AGAIN}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON ({one_line(error)}); {AGAIN}.") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{file} is {describe(fields)} and no JSON object; {AGAIN}.")
    return fields
