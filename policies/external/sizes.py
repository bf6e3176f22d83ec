"""How large a model is: from the small files of its folder, or from its name if its folder is not there
yet.

Invariant: parameters are counted on the very classes that would hold them, without allocating them.
The sizes of public models are in `known/`, in the layout of a checkpoint without its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from policies.external import pipeline
from policies.external.checkpoint import LANGUAGE, PIPELINE, features, fresh, language_config
from policies.external.config import BridgeConfig, read
from policies.external.module import ADAPTED, blocks
from policies.external.pipeline import Described, class_of
from policies.footprint import (
    ELEMENT_BYTES,
    INSTRUCTION,
    Footprint,
    decoder_layer,
    named,
    parameters_of,
    stored_drawing,
)
from policies.lora import per_rank
from policies.vision_language.checkpoint import blank
from policies.vision_language.seeing import eye_of
from policies.vision_language.sizes import keys_of

KNOWN = Path(__file__).parent / "known"
# An estimate for CUDA itself, logits, the pictures that are decoded or encoded at a time, and what the
# denoiser keeps of a few drawings for its gradient, block by block.
WORKSPACE_BYTES = 6 * 2**30
STEP_WIDTHS = 32
"""Elements that a denoiser has of a latent place while it takes a step, in widths of its first layer: an
estimate, with what its skips hold."""


def footprint(folder: Path, dtype: str) -> Footprint:
    """Raises CheckpointError, or ConfigError if its size is unknown."""
    where = folder if folder.exists() else named(folder, KNOWN)
    config, drawing = read(where), pipeline.described(where / PIPELINE)
    model = language_config(where / LANGUAGE)
    net, text = blank(model), model.get_text_config()
    with torch.device("meta"):
        bridge, project = fresh(config)
        denoiser = drawing.model.from_config(dict(drawing.config))
        frozen = [_component(drawing, "vae"), *([project] if project else [])]
        if config.kind == "signals":
            frozen.append(_component(drawing, "text_encoder"))
    reader, learns = net.model.language_model, config.decoder == "learned"
    own: dict[str, torch.Size] = {
        f"language_model.{n}": w.shape for n, w in reader.named_parameters()
    }
    if net.lm_head.weight is not reader.embed_tokens.weight:
        own["lm_head.weight"] = net.lm_head.weight.shape
    own |= {f"bridge.{n}": w.shape for n, w in bridge.named_parameters()}
    own |= {f"denoiser.{n}": w.shape for n, w in denoiser.named_parameters()} if learns else {}
    trained = sum(shape.numel() for shape in own.values())
    units = [
        *map(parameters_of, reader.layers),
        *(map(parameters_of, blocks(denoiser)) if learns else ()),
    ]
    keys = keys_of(text)
    seen = features(eye_of(where / LANGUAGE, model), drawing.pixels)
    values = _values(config, drawing)
    return Footprint(
        parameters=parameters_of(net)
        + parameters_of(bridge)
        + parameters_of(denoiser)
        + sum(map(parameters_of, frozen)),
        trained=trained,
        active=parameters_of(reader.layers),
        gathered=trained - sum(units) + 2 * max(units),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        layer_elements=decoder_layer(text.hidden_size, keys, text.intermediate_size),
        words=text.vocab_size,
        codes=-(-values // config.slots),
        drawing=config.slots,
        instruction=INSTRUCTION,
        cache_bytes=2 * text.num_hidden_layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(drawing.pixels, values),
        workspace_bytes=WORKSPACE_BYTES,
        adapter=per_rank(own.items(), ADAPTED),
        seen=seen,
        redrawn=max(0, seen - config.slots),
        step_elements=STEP_WIDTHS * _width(drawing) * drawing.side**2 // config.slots,
    )


def _component(drawing: Described, name: str) -> Any:
    """A component without memory."""
    kind, folder = class_of(drawing, name), drawing.folder / name
    if not hasattr(kind, "config_class"):
        return kind.from_config(kind.load_config(str(folder), local_files_only=True))
    return kind(kind.config_class.from_pretrained(str(folder), local_files_only=True))


def _values(config: BridgeConfig, drawing: Described) -> int:
    """How many squared errors a drawing teaches by."""
    if not config.denoises:
        return config.slots * config.hidden
    return drawing.values + (config.tokens * config.width if config.kind == "signals" else 0)


def _width(drawing: Described) -> int:
    """Of the denoiser's first layer."""
    config = drawing.config
    if widths := config.get("block_out_channels"):
        return int(widths[0])
    return int(config["num_attention_heads"]) * int(config["attention_head_dim"])
