"""How large a Show-o is: from the small files of its folder and the shapes of its tensors, or from
its name if its folder is not there yet.

Invariant: parameters are counted on the very modules that would hold them, without allocating them.
The sizes of public checkpoints are in `known/`, as fields of the released files.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

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
from policies.showo.checkpoint import read_small
from policies.showo.config import MagvitSizes, ShowoConfig
from policies.showo.magvit import Magvit
from policies.showo.module import ADAPTED, ShowoModule
from policies.showo.released import read_sizes
from policies.small_files import ConfigFile

KNOWN = Path(__file__).parent / "known"
# An estimate for CUDA itself, logits, and the pictures that are decoded or encoded at a time.
WORKSPACE_BYTES = 6 * 2**30


def footprint(folder: Path, dtype: str, *, positions: int = 0) -> Footprint:
    """Raises CheckpointError, or ConfigError if its size is unknown."""
    config = read_small(folder).config if folder.exists() else known(named(folder, KNOWN))
    with torch.device("meta"):
        module, magvit = ShowoModule(config), Magvit(config.magvit)
    phi, units = config.phi, list(module.showo.model.layers)
    trained, layers = parameters_of(module), sum(map(parameters_of, units))
    keys = phi.kv_heads * phi.head_dim
    layer = decoder_layer(phi.hidden_size, keys, phi.intermediate_size)
    return Footprint(
        parameters=trained + parameters_of(magvit),
        trained=trained,
        active=layers,
        gathered=trained - layers + 2 * parameters_of(units[-1]),
        layers=phi.layers,
        hidden=phi.hidden_size,
        layer_elements=layer,
        words=config.vocabulary,
        codes=config.vocabulary,  # one head for all: a hidden token is told from the words too
        drawing=config.tokens,
        instruction=INSTRUCTION,
        cache_bytes=2 * phi.layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(config.pixels, config.tokens),
        workspace_bytes=WORKSPACE_BYTES,
        adapter=per_rank(((n, w.shape) for n, w in module.named_parameters()), ADAPTED),
        step_elements=layer,
    )


def known(file: Path) -> ShowoConfig:
    """The sizes of a public checkpoint."""
    said = json.loads(file.read_bytes())
    magvit = said["magvit"]
    encoder, decoder = (
        tuple((width, blocks) for width, blocks in magvit[part]) for part in ("encoder", "decoder")
    )
    sizes = MagvitSizes(magvit["stem"], encoder, decoder, magvit["bits"])
    return read_sizes(ConfigFile(file, said["showo"]), ConfigFile(file, said["phi"]), sizes)
