"""Reads and writes the checkpoint folder of a tiny policy, which transformers reads as a Llama
model.

Invariant: a folder is read as a whole or refused with one sentence that names the file. Nothing is
guessed, filled in or skipped, and a byte that changed since the folder was sealed is noticed.
Reading allocates no more memory than the files are large.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from policies.errors import describe, one_line, printable
from policies.interface import CheckpointError
from policies.named_tensors import require_finite, require_tensors
from policies.saving import save_tensors
from policies.tiny.text import BOS, EOS, PAD, TOKENIZER_FILE, Text
from policies.tiny.transformer import (
    Transformer,
    TransformerConfig,
    from_public,
    public_parts,
    to_public,
)
from policies.tiny.vision import ImageTokenizer, VisionConfig

CONFIG, MODEL, VISION = "config.json", "model.safetensors", "vision.safetensors"
SUMS = "SHA256SUMS"
OWN = "unicorn_tiny"
"""The section of config.json that is no Llama's."""
FILES = (CONFIG, MODEL, VISION, TOKENIZER_FILE)
_AGAIN = "copy it again from a complete tiny checkpoint"
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
}


def save(folder: Path, model: Transformer, vision: ImageTokenizer, text: Text) -> None:
    """Writes the folder; files that are there already are replaced. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    public = to_public(model.config, model.state_dict())
    save_tensors(folder / MODEL, public)
    save_tensors(folder / VISION, vision.state_dict())
    text.save_pretrained(folder, model.config.max_positions)
    config = _describe(model.config, vision.config, text.code_offset)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    seal(folder)


def seal(folder: Path) -> None:
    """Writes SHA256SUMS, which `load` verifies, as `sha256sum` does. Raises CheckpointError."""
    sums = _sums(folder)
    (folder / SUMS).write_text("".join(f"{line}\n" for line in sums.values()))


def load(folder: Path) -> tuple[Transformer, ImageTokenizer, Text]:
    """Returns the parts of a policy. Raises CheckpointError."""
    _verify(folder)
    config = _read_config(folder)
    model_config, vision_config, offset = _parse(folder / CONFIG, config)
    text = Text.from_pretrained(folder)
    wanted = (model_config.vocab_size, offset, vision_config.codes)
    if wanted != (text.size, text.code_offset, text.codes):
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} has {text.size} tokens with {text.codes} image codes "
            f"from {text.code_offset}, but {CONFIG} says {wanted[0]} with {wanted[2]} from "
            f"{wanted[1]}; use the tokenizer that was saved with this checkpoint."
        )
    parts = public_parts(model_config).values()
    public = _read_tensors(
        folder / MODEL, {name: shape for stack in parts for name, shape in stack}
    )
    with torch.device("meta"):  # only shapes, until the file is known to hold them
        blank = ImageTokenizer(vision_config).state_dict()
    pictures = _read_tensors(folder / VISION, {name: tuple(t.shape) for name, t in blank.items()})
    model, vision = Transformer(model_config), ImageTokenizer(vision_config)
    model.load_state_dict(from_public(model_config, public), assign=True)
    vision.load_state_dict(pictures)
    return model, vision, text


def read_sizes(folder: Path) -> tuple[TransformerConfig, VisionConfig]:
    """Returns the sizes that config.json states; reads no other file. Raises CheckpointError."""
    model, vision, _ = _parse(folder / CONFIG, _read_config(folder))
    return model, vision


def read_llama(folder: Path) -> tuple[dict[str, Any], int]:
    """Returns config.json as a Llama has it, and the tokens that the model holds. Raises
    CheckpointError."""
    config = _read_config(folder)
    model, _, _ = _parse(folder / CONFIG, config)
    return {name: value for name, value in config.items() if name != OWN}, model.max_positions


def _describe(model: TransformerConfig, vision: VisionConfig, code_offset: int) -> dict[str, Any]:
    rope = {"rope_theta": model.rope_theta, "rope_type": "default"}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{theirs: getattr(model, ours) for ours, theirs in _FIELDS.items()},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "rope_parameters": rope,
        "rope_theta": model.rope_theta,  # transformers before 5 looks here
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "dtype": "float32",
        "torch_dtype": "float32",  # likewise
        OWN: {"code_offset": code_offset, "vision": asdict(vision)},
    }


def _sums(folder: Path) -> dict[str, str]:
    """Returns the line of SHA256SUMS for each file."""
    lines = {}
    for name in FILES:
        try:
            with (folder / name).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError:
            raise CheckpointError(f"{folder / name} is missing; {_AGAIN}.") from None
        except OSError as error:
            raise CheckpointError(
                f"{folder / name} cannot be read ({error.strerror}); {_AGAIN}."
            ) from error
        lines[name] = f"{digest}  {name}"
    return lines


def _verify(folder: Path) -> None:
    if not folder.is_dir():
        raise CheckpointError(
            f"The checkpoint folder {folder} does not exist; give the path of a folder with "
            f"{', '.join(FILES)}."
        )
    sums = _sums(folder)
    try:
        stated = (folder / SUMS).read_bytes().decode(errors="replace").splitlines()
    except OSError as error:
        raise CheckpointError(
            f"{folder / SUMS} cannot be read ({error.strerror}); {_AGAIN}, or, if it is whole, "
            f"seal it: cd {folder} && sha256sum {' '.join(FILES)} > {SUMS}"
        ) from error
    for name, line in sums.items():
        if line not in stated:
            raise CheckpointError(
                f"{folder / name} is damaged (its checksum is not the one in {SUMS}); {_AGAIN}."
            )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    try:
        config = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}); {_AGAIN}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON ({one_line(error)}); {_AGAIN}.") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "llama" or not isinstance(config.get(OWN), dict):
        raise CheckpointError(
            f"{file} is of model_type {describe(kind)}, without the section unicorn_tiny or with "
            "another architecture than llama; a tiny policy reads only checkpoints that it has "
            "saved."
        )
    return config


def _parse(file: Path, config: dict[str, Any]) -> tuple[TransformerConfig, VisionConfig, int]:
    own = config[OWN]
    try:
        sizes = {ours: config[theirs] for ours, theirs in _FIELDS.items()}
        theta = config["rope_parameters"]["rope_theta"]
        model = TransformerConfig(**sizes, rope_theta=theta)
        seen: dict[str, Any] = {
            field: tuple(value) if isinstance(value, list) else value
            for field, value in own["vision"].items()
        }
        vision, offset = VisionConfig(**seen), own["code_offset"]
    except KeyError as error:
        raise CheckpointError(f"{file} lacks the field {one_line(error)}; {_AGAIN}.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{file} has a field that does not fit: {one_line(error)}; {_AGAIN}."
        ) from error
    _require_same(file, config, _describe(model, vision, offset))
    return model, vision, offset


def _require_same(file: Path, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Raises CheckpointError unless config.json is, field by field, what `save` would write: a
    program that reads the folder as a Llama model would not ignore other fields."""
    if unknown := sorted(found.keys() - wanted):
        raise CheckpointError(
            f"{file} has the field {printable(unknown[0])}, which a tiny policy does not "
            f"know; {_AGAIN}."
        )
    for field, value in wanted.items():
        if json.dumps(found.get(field), sort_keys=True) != json.dumps(value, sort_keys=True):
            raise CheckpointError(
                f"{file} has {field}={describe(found.get(field))}, but a tiny policy needs "
                f"{describe(value)}; {_AGAIN}."
            )


def _read_tensors(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} is truncated or damaged ({one_line(error)}); {_AGAIN}."
        ) from error
    described = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
    require_tensors(str(file), described, {name: (s, torch.float32) for name, s in shapes.items()})
    for name, tensor in tensors.items():
        require_finite(file, name, tensor, _AGAIN)
    return tensors
