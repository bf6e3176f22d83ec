"""What must be there before a run that filters drawings starts.

Invariant: whatever is missing is one ConfigError that names the setting and the fix; no model is loaded.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from safetensors import safe_open

from actors.hygiene.clip import load_head
from actors.hygiene.config import HygieneConfig
from policies.config import ConfigError

WEIGHTS = "model.safetensors"
CLIP_FILES = ("config.json", WEIGHTS, "preprocessor_config.json", "tokenizer.json")
PROJECTION = "visual_projection.weight"


def require_filters(config: HygieneConfig) -> None:
    """Raises ConfigError for packages and checkpoints that the filters need and that are not here."""
    _require_package("unsafe_from", config.unsafe_from, "nudenet", "safety")
    _require_package("duplicate_bits", config.duplicate_bits, "imagehash", "hygiene")
    if config.clip:
        features = _clip_features(Path(config.clip))
        if config.aesthetic:
            load_head(config.aesthetic, features)


def _require_package(field: str, value: float | None, package: str, extra: str) -> None:
    if value is not None and not importlib.util.find_spec(package):
        raise ConfigError(
            f"judge.hygiene.{field} is {value:g}, which needs {package}: pip install "
            f"'unicorn-ray[{extra}]', or set it to null"
        )


def _clip_features(folder: Path) -> int:
    """How many numbers the CLIP makes of a picture."""
    where = f"judge.hygiene.clip is {str(folder)!r}"
    missing = [name for name in CLIP_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{where}, where there is no {' and no '.join(missing)}: give the folder of a CLIP as "
            "transformers saves it"
        )
    try:
        kind = json.loads((folder / "config.json").read_bytes())["model_type"]
        with safe_open(folder / WEIGHTS, "pt") as file:
            features = int(file.get_slice(PROJECTION).get_shape()[0]) if kind == "clip" else 0
    except Exception as error:  # foreign bytes can raise almost anything
        raise ConfigError(
            f"{where}, whose files cannot be read ({type(error).__name__}: {error}): copy them again"
        ) from error
    if not features:
        raise ConfigError(f"{where}, which is a {kind!r}: give the folder of a CLIP")
    return features
