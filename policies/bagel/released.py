"""The sizes that the small files and the shapes of the tensors of a released folder say.

Invariant: a BagelConfig that is given out can be built, and what would be computed otherwise than
BAGEL does is refused. Where the released scripts overwrite what a file says, the tensors decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from policies.bagel.config import AutoencoderConfig, BagelConfig
from policies.convolutions import GROUPS
from policies.flowing.config import VisionConfig, read_language
from policies.interface import CheckpointError
from policies.small_files import PUBLISHED, ConfigFile, opened_config

LANGUAGE, VISION, WHOLE = "llm_config.json", "vit_config.json", "config.json"
GELU = "gelu_pytorch_tanh"

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every tensor of a file, by its name."""

# What must be so where a file says it. Files lack some of these, for the scripts set them: that
# q and k are normed, that the layers are mixtures, that the vision model has a table of places.
FIXED: dict[str, dict[str, object]] = {
    LANGUAGE: {
        "layer_module": "Qwen2MoTDecoderLayer",
        "qk_norm": True,
        "hidden_act": "silu",
        "rope_scaling": None,
        "use_sliding_window": False,
        "attention_dropout": 0,
    },
    VISION: {"hidden_act": GELU, "num_channels": 3, "attention_dropout": 0},
    WHOLE: {
        "connector_act": GELU,
        "visual_gen": True,
        "visual_und": True,
        "interpolate_pos": False,
    },
}


def read_config(folder: Path, model: Shapes, autoencoder: Shapes) -> BagelConfig:
    """The configuration in a released folder whose ema.safetensors has tensors of the shapes
    `model`, and whose ae.safetensors those of `autoencoder`. Raises CheckpointError."""
    language, vision, whole = (_opened(folder / name) for name in (LANGUAGE, VISION, WHOLE))
    read = BagelConfig(
        language=read_language(language),
        vision=_vision(vision, whole, model),
        autoencoder=autoencoder_config(folder / "ae.safetensors", autoencoder),
        latent_patch=whole.size("latent_patch_size", 2, 64),
        latent_side=_side(whole, "max_latent_size", model.get("latent_pos_embed.pos_embed"), 64),
        timestep_shift=whole.real("timestep_shift", 1.0, 1e3),
    )
    said = whole.fields.get("vae_config", {})
    if not isinstance(said, dict):
        raise whole.wrong("vae_config", said, "it must be a section of fields")
    found = {"z_channels": read.autoencoder.latents, "downsample": read.autoencoder.downsample}
    for field, value in found.items():
        given = said.get(field, value)
        whole.require(
            f"vae_config.{field}", given, given == value, f"ae.safetensors has one of {value}"
        )
    return read


def _opened(path: Path) -> ConfigFile:
    return opened_config(path, FIXED[path.name], "BAGEL")


def _vision(file: ConfigFile, whole: ConfigFile, model: Shapes) -> VisionConfig:
    hidden, heads = file.size("hidden_size"), file.size("num_attention_heads", most=1024)
    file.require("hidden_size", hidden, hidden % heads == 0, f"{heads} heads must divide it")
    image, patch = file.size("image_size"), file.size("patch_size", most=128)
    side = whole.size("vit_max_num_patch_per_side", image // patch, 1024)
    needed = f"{file.path.name} has pictures of {image} and patches of {patch}"
    whole.require("vit_max_num_patch_per_side", side, side == image // patch, needed)
    return VisionConfig(
        hidden_size=hidden,
        intermediate_size=file.size("intermediate_size"),
        layers=_numbered(model, r"vit_model\.vision_model\.encoder\.layers\.(\d+)\."),
        heads=heads,
        patch=patch,
        side=side,
        norm_eps=file.real("layer_norm_eps", 1e-6, 1.0),
    )


def _side(file: ConfigFile, field: str, table: tuple[int, ...] | None, default: int) -> int:
    """The side of a table of places: a stale number in the file does no harm where the table is
    there, and fine-tuned weights may lack it."""
    if table is None:
        return file.size(field, default, 1024)
    side = int(table[0] ** 0.5)
    needed = f"the table of its places has {table[0]} rows, which is no square"
    file.require(field, file.fields.get(field), side > 0 and side**2 == table[0], needed)
    return side


def _numbered(shapes: Shapes, pattern: str) -> int:
    """How many numbers the names have where the pattern's group is."""
    return len({found[1] for name in shapes if (found := re.match(pattern, name))})


def autoencoder_config(file: Path, shapes: Shapes) -> AutoencoderConfig:
    """What the shapes of an autoencoder's tensors say: no released file says it. Raises
    CheckpointError that names `file`."""
    levels = _numbered(shapes, r"encoder\.down\.(\d+)\.")
    ends = [f"encoder.down.{i}.block.0.conv1.weight" for i in range(levels)]
    names = ("encoder.conv_in.weight", "decoder.conv_in.weight", *ends)
    for name in names:
        if len(shapes.get(name, ())) != 4:
            raise CheckpointError(f"{file} has no tensor {name} of four sides; {PUBLISHED}.")
    stem, _, *widths = (shapes[name][0] for name in names)
    for name, width in zip(("encoder.conv_in.weight", *ends), (stem, *widths)):
        if width == 0 or width % GROUPS:
            needed = f"a multiple of {GROUPS}, for its norms"
            raise CheckpointError(f"{file} has {width} rows in {name}, not {needed}; {PUBLISHED}.")
    if not widths:
        raise CheckpointError(f"{file} has no tensor encoder.down.0; {PUBLISHED}.")
    return AutoencoderConfig(
        stem=stem,
        widths=tuple(widths),
        blocks=_numbered(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        latents=shapes["decoder.conv_in.weight"][1],
    )
