"""Recipes: YAML files that become a RunConfig, and run folders that hold one.

Invariant: a recipe is read whole or refused with one sentence that names the place (file and
line, or override), the field, the value and the fix; and `load` of what `dump` wrote gives the
same configuration.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from actors.storage import storage
from actors.storage.paths import LEFTOVER, StoragePath, parse_path, run_folder
from cluster.recipes import yaml12
from cluster.recipes.settings import Setting, Settings, build, flat
from policies.config import changed
from policies.errors import ConfigError, UserError, describe, printable
from trainer.config import RunConfig

CONFIG_FILE = "config.yaml"
RECIPES = Path("configs")
BASE = "base"
MOST_BYTES = 64 * 2**10


def load(path: str | StoragePath, overrides: Iterable[str] = ()) -> RunConfig:
    """Reads a recipe and what it is based on, then applies `trainer.lr=2e-4`. Raises ConfigError."""
    return _build(read_settings(parse_path(path), ()), overrides)


def defaults(overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration without a recipe. Raises ConfigError."""
    return _build({}, overrides)


def load_folder(folder: StoragePath) -> RunConfig:
    """The configuration of the run in `folder`, which may have been moved or renamed since it began.

    Raises ConfigError.
    """
    if not is_run(folder):
        runs = ", ".join(_beside(folder))
        raise ConfigError(
            f"{folder} is not a run folder: it holds no {CONFIG_FILE}; "
            + (f"there are: {runs}" if runs else "begin one with `unicorn-ray run RECIPE`")
        )
    here = folder.absolute()
    return changed(load(here / CONFIG_FILE), folder=str(here.parent), name=here.name)


def is_run(folder: StoragePath) -> bool:
    """Also of a path that no disk can hold, and of a folder that is closed to us. Raises
    BucketSilent."""
    return storage.is_file(folder / CONFIG_FILE)


def _beside(folder: StoragePath) -> list[str]:
    """The runs next to where one was looked for."""
    return [str(file.parent) for file in storage.search(folder.parent, f"*/{CONFIG_FILE}")]


def dump(config: RunConfig) -> str:
    """The whole configuration as YAML that `load` reads."""
    return yaml12.dump(config.model_dump())


def config_digest(config: RunConfig) -> str:
    """sha256 of everything but `folder`: where a run is kept is no part of what it is."""
    return hashlib.sha256(dump(changed(config, folder="")).encode()).hexdigest()


def claim_folder(config: RunConfig) -> StoragePath:
    """Makes the run's folder with its config.yaml, or finds that it is this run's already.

    Raises ConfigError where the folder is another run's, or none's but not empty.
    """
    folder = run_folder(config)
    file = folder / CONFIG_FILE
    if is_run(folder):
        _refuse_another(folder, config, load(file))
        return folder
    try:
        storage.make_folder(folder.absolute())
        _require_empty(folder)
        storage.write(file.absolute(), dump(config).encode())
    except UserError:
        raise
    except OSError as error:
        raise ConfigError(
            f"the run folder {folder} cannot be made ({error.strerror or error}); "
            "give a folder=... that can be written to"
        ) from error
    return folder


def require_own(config: RunConfig) -> bool:
    """Whether the run's folder is this run's already, and not only free to become it.

    Raises ConfigError where it is another run's, or none's but not empty.
    """
    folder = run_folder(config)
    if begun := is_run(folder):
        _refuse_another(folder, config, load(folder / CONFIG_FILE))
    else:
        _require_empty(folder)
    return begun


def _require_empty(folder: StoragePath) -> None:
    if others := [n for n in storage.names(folder) if not n.endswith(LEFTOVER)]:
        raise ConfigError(
            f"{folder} exists and is not a run: it holds {others[0]} but no {CONFIG_FILE}; "
            "give another name=... or move it away"
        )


def _build(settings: Settings, overrides: Iterable[str]) -> RunConfig:
    for override in overrides:
        settings |= override_settings(override)
    return build(RunConfig, settings)


def read_settings(path: StoragePath, seen: tuple[str, ...]) -> Settings:
    """The settings of `path` over those of its base."""
    if (real := _real(path)) in seen:
        raise ConfigError(f"{path} is based on itself, by way of others; remove one `{BASE}:`")
    try:
        found = yaml12.leaves(_text(path))
    except yaml12.YamlError as error:
        raise ConfigError(f"{path}, line {error.line}: not YAML: {error}") from error
    settings = _settings((name, Setting(value, f"{path}, line {at}")) for name, value, at in found)
    base = settings.pop(BASE, None)
    if base is None:
        return settings
    if not isinstance(base.value, str) or not base.value.isprintable():
        raise ConfigError(
            f"{base.origin}: {BASE} is {describe(base.value)}: it must be a recipe's file"
        )
    return read_settings(path.parent / base.value, (*seen, real)) | settings


def _real(path: StoragePath) -> str:
    """Returns what is the same for two names of one file."""
    return os.path.realpath(path)  # of an address too, for it is only compared


def _settings(found: Iterable[tuple[str, Setting]]) -> Settings:
    """Each name once."""
    settings: Settings = {}
    for name, setting in found:
        if name in settings:
            raise ConfigError(
                f"{setting.origin}: {printable(name)} is set again, first in {settings[name].origin}"
            )
        settings[name] = setting
    return settings


def _text(path: StoragePath) -> str:
    try:
        with storage.open_file(path, patience_s=0) as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ConfigError(f"{path} is larger than {MOST_BYTES} bytes; give a recipe")
        return data.decode()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"there is no recipe {path}; {_existing(path.parent)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text in UTF-8 ({error.reason})") from error
    except UserError:
        raise
    except OSError as error:
        folder = path if os.path.isdir(path) else path.parent  # noqa: PTH112 (never raises)
        raise ConfigError(
            f"{path} cannot be read as a recipe ({error.strerror}); {_existing(folder)}"
        ) from error


def _existing(folder: StoragePath) -> str:
    for there in (folder, RECIPES):
        if found := storage.search(there, "*.yaml"):
            return f"there are: {', '.join(map(str, found))}"
    return f"give the path of a YAML file, such as {RECIPES}/tiny.yaml of a clone"


def override_settings(text: str) -> Settings:
    name, equals, value = text.partition("=")
    origin = f"override {printable(text)}"
    if not equals or not name:
        raise ConfigError(
            f"override {describe(text)} sets nothing; write name=value, such as trainer.lr=2e-4"
        )
    try:
        found = yaml12.leaves(value, under=name) or [(name, None, 1)]
    except yaml12.YamlError as error:
        raise ConfigError(f"{origin}: the value is not YAML: {error}; quote it") from error
    return _settings((leaf, Setting(leaf_value, origin)) for leaf, leaf_value, _ in found)


def split_overrides(overrides: Sequence[str], prefix: str) -> tuple[list[str], list[str]]:
    """Those of fields that begin with `prefix`, and the others."""
    own = [each for each in overrides if each.startswith(prefix)]
    return own, [each for each in overrides if not each.startswith(prefix)]


def _refuse_another(folder: StoragePath, config: RunConfig, other: RunConfig) -> None:
    there = flat(other)
    for name, value in flat(config).items():
        if name not in ("folder", "name") and value != there[name]:
            raise ConfigError(
                f"{folder} holds another run: {name} is {yaml12.scalar(there[name])} there and "
                f"{yaml12.scalar(value)} here; give another name=..., or delete the folder to "
                "start anew"
            )
