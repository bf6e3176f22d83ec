"""Makes a checkpoint of a public vision-language model and a public pipeline of diffusers:

    python -m policies.external.create LANGUAGE PIPELINE FOLDER --kind queries --slots 64

Invariant: what is made can be loaded. Its bridge has learned nothing: a run that begins with it draws
noise, so let it learn from pictures with captions before it learns from itself.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path

import torch

from policies.errors import UserError
from policies.external import pipeline
from policies.external.checkpoint import (
    LANGUAGE,
    PIPELINE,
    copied,
    features,
    fresh,
    read_language,
    require_fit,
    save_bridge,
)
from policies.external.config import BRIDGE, KINDS, BridgeConfig, Decoder, Kind, parsed
from policies.external.pipeline import Described
from policies.interface import CheckpointError

SLOTS = {"queries": 64, "embeddings": 0, "signals": 4}
"""As DreamLLM and NExT-GPT have; how many embeddings there are follows from the size of a picture."""
SIDE = 224
LAYERS, HEADS, INNER = 4, 4, 512  # NExT-GPT's output projection


def create(
    folder: Path, model: Path, drawing: Path, kind: Kind, *, slots: int = 0, steps: int = 0,
    decoder: Decoder = "frozen", side: int = SIDE, layers: int = LAYERS, heads: int = HEADS,
    inner: int = INNER, seed: int = 0,
) -> BridgeConfig:  # fmt: skip
    """Copies both public folders into `folder` with a fresh bridge of weights that follow from
    `seed`; 0 slots or steps are the kind's own and the pipeline's. Raises CheckpointError."""
    small, described = read_language(model), pipeline.described(drawing)
    count = features(small.eye, side) if kind == "embeddings" else slots or SLOTS[kind]
    signals = (layers, heads, inner) if kind == "signals" else (0, 0, 0)
    stated = BridgeConfig(
        kind, count, _prompt_tokens(described) if kind == "signals" else count, described.width,
        small.config.get_text_config().hidden_size, steps or _steps(described), decoder,
        side if kind == "embeddings" else 0, *signals,
    )  # fmt: skip
    config = parsed(folder / BRIDGE, vars(stated))
    require_fit(folder, config, small, described)
    folder.mkdir(parents=True, exist_ok=True)
    copied(model, folder / LANGUAGE)
    copied(drawing, folder / PIPELINE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_bridge(folder, config, *fresh(config))
    return config


def _steps(described: Described) -> int:
    default: int = (
        inspect.signature(described.kind.__call__).parameters["num_inference_steps"].default
    )
    return default


def _prompt_tokens(described: Described) -> int:
    """To how many tokens the pipeline's own text encoder pads every prompt."""
    file = described.folder / "tokenizer" / "tokenizer_config.json"
    try:
        found = json.loads(file.read_bytes())["model_max_length"]
        return int(found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{file} does not say how long a prompt is (model_max_length), which signals need; use a "
            "pipeline with a text encoder, or another kind of bridge."
        ) from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    for name, said in (
        ("language", "folder of a vision-language model of transformers"),
        ("pipeline", "folder of a pipeline of diffusers"),
        ("folder", "where the checkpoint shall be"),
    ):
        parser.add_argument(name, type=Path, help=said)
    parser.add_argument("--kind", choices=KINDS, default="queries")
    parser.add_argument("--slots", type=int, default=0, help="0: as many as the kind's paper has")
    parser.add_argument("--steps", type=int, default=0, help="of a drawing; 0: as the pipeline's")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of what embeddings are of")
    parser.add_argument("--decoder", choices=("frozen", "learned"), default="frozen")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    try:
        made = create(
            asked.folder, asked.language, asked.pipeline, asked.kind, slots=asked.slots,
            steps=asked.steps, decoder=asked.decoder, side=asked.side, seed=asked.seed,
        )  # fmt: skip
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{asked.folder}: a bridge of {made.slots} {made.kind}, which has learned nothing yet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
