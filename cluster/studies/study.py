"""Studies: YAML files that name a recipe, seeds, and arms that change something of it.

Invariant: a study is read whole or refused with one sentence that names the place, the field, the value
and the fix, before anything starts; so are arms that cannot be compared, because they are the same, or
measured otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from actors.storage.paths import StoragePath, parse_path
from cluster.recipes.recipe import config_digest, override_settings, read_settings
from cluster.recipes.settings import Setting, Settings, build
from cluster.recipes.shipped import Shipped
from cluster.studies.config import ArmFields, StudyFields
from policies.config import changed
from policies.errors import ConfigError, describe
from trainer.config import RunConfig

SHIPPED = Shipped("study", Path(__file__).parents[2] / "configs" / "studies")
ARMS = "arms"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
OF_STUDIES = {"name": "name=... names the study", "seed": "seeds=... gives all of them",
              "folder": "folder=... is the study's"}  # fmt: skip
MOST_LINES = 4
MEASURED = ("suite", "seed", "prompts", "scenes", "selection_prompts", "twins")
"""Of `evaluation`: what is alike in all arms."""


@dataclass(frozen=True)
class Arm:
    """`changes` are the settings that it changes, by their names; `recipe` those that it begins with, if
    not with the study's."""

    name: str
    fields: ArmFields
    changes: Settings
    recipe: Settings | None = None

    @property
    def label(self) -> str:
        return self.fields.label or self.name.replace("-", " ")

    @property
    def measured_apart(self) -> bool:
        """Whether its runs do not measure themselves: a grafted checkpoint is no run, and a server that
        judges would answer for the model."""
        return bool(self.fields.graft) or "judge" in self.fields.external


@dataclass(frozen=True)
class Study:
    """`recipe` are the settings that arms begin with, `shared` what the study changes for all of them, and
    `overrides` those of the command line, the last word."""

    name: str
    fields: StudyFields
    arms: tuple[Arm, ...]
    recipe: Settings
    shared: Settings
    overrides: Settings = field(default_factory=dict)

    @cached_property
    def folder(self) -> StoragePath:
        return parse_path(self._built(self.recipe, {}).folder) / self.name

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def run(self, arm: Arm, seed: int) -> RunConfig:
        """The run of a trained arm with this seed."""
        served: dict[str, object] = {}
        for role in arm.fields.external:
            served |= {f"{role}.server": self.fields.server,
                       f"{role}.server_model": self.fields.server_model}  # fmt: skip
        if "judge" in arm.fields.external:
            served["evaluation.suite"] = "none"
        return self._named(arm, seed, served)

    def measuring(self, arm: Arm, seed: int) -> RunConfig:
        """How an arm that is `measured_apart` is measured: as all others, and without a server."""
        source = self.arm(arm.fields.graft) if arm.fields.graft else arm
        return changed(self._named(source, seed, {}), name=run_name(arm, seed))

    def runs(self) -> Iterator[tuple[Arm, int]]:
        """What is done, in its order: every arm with the first seed, then with the next one."""
        trained = [arm for arm in self.arms if not arm.fields.graft]
        grafted = [arm for arm in self.arms if arm.fields.graft]
        return ((arm, seed) for seed in self.fields.seeds for arm in (*trained, *grafted))

    def _named(self, arm: Arm, seed: int, more: dict[str, object]) -> RunConfig:
        forced = {k: Setting(v, f"arm {arm.name}, external") for k, v in more.items()}
        begin = self.recipe if arm.recipe is None else arm.recipe
        config = self._built(begin, {**arm.changes, **forced})
        return changed(config, name=run_name(arm, seed), seed=seed, folder=str(self.folder))

    def _built(self, recipe: Settings, changes: Settings) -> RunConfig:
        return build(RunConfig, recipe | self.shared | changes | self.overrides)


def run_name(arm: Arm, seed: int) -> str:
    return f"{arm.name}-seed-{seed}"


def listed() -> str:
    """Each with its title, a line each."""
    return SHIPPED.listed(lambda name: _read(name, {})[0].title)


def load(name: str, overrides: Sequence[str] = ()) -> Study:
    """The study of that name, or of a file that ends in .yaml. Raises ConfigError."""
    asked: Settings = {}
    for override in overrides:
        asked |= override_settings(override)
    fields, found, path = _read(name, asked)
    for key, setting in found.items():
        if key == "seed":
            raise ConfigError(f"{setting.origin}: seed is one of a study's: {OF_STUDIES['seed']}")
    own = asked.get("name") or found.pop("name", None)
    title = str(own.value) if own else path.stem
    _require_name("name", title, own.origin if own else str(path))
    arms = tuple(_arms(path, {k: s for k, s in found.items() if k.startswith(f"{ARMS}.")}))
    shared = {k: s for k, s in found.items() if not k.startswith(f"{ARMS}.") and k != "name"}
    given = {k: s for k, s in asked.items() if k in shared}
    study = Study(title, fields, arms, _recipe(path, fields.recipe), shared, given)
    _check(study, path)
    return study


def _read(name: str, asked: Settings) -> tuple[StudyFields, Settings, StoragePath]:
    """Its own fields, all its other settings, and its file."""
    path = SHIPPED.file(name)
    settings = read_settings(path, ()) | asked
    own = {k: settings.pop(k) for k in StudyFields.model_fields if k in settings}
    if "recipe" not in own:
        raise ConfigError(
            f"{path} names no recipe: begin with such as `recipe: ../tiny-paper.yaml`"
        )
    return build(StudyFields, own), settings, path


def _recipe(path: StoragePath, name: str) -> Settings:
    """What the recipe beside the study's file says, but for what is the study's own."""
    found = read_settings(path.parent / name, ())
    return {k: s for k, s in found.items() if k not in OF_STUDIES or k == "folder"}


def _arms(path: StoragePath, settings: Settings) -> Iterator[Arm]:
    each: dict[str, Settings] = {}
    for key, setting in settings.items():
        name, _, changed_field = key.removeprefix(f"{ARMS}.").partition(".")
        _require_name("an arm's name", name, setting.origin)
        arm = each.setdefault(name, {})
        if not changed_field and setting.value not in ({}, None):
            raise ConfigError(f"{setting.origin}: {ARMS}.{name} is {describe(setting.value)}: it must be a "
                              "section of settings, or {} for none")  # fmt: skip
        if changed_field:
            arm[changed_field] = setting
    if not each:
        raise ConfigError(f"{path} has no arms: add such as `{ARMS}: {{as-it-is: {{}}}}`")
    for name, own in each.items():
        found = {k: own.pop(k) for k in ArmFields.model_fields if k in own}
        fields = build(ArmFields, found)
        yield Arm(name, fields, own, _recipe(path, fields.recipe) if fields.recipe else None)


def _require_name(what: str, name: str, origin: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{origin}: {what} is {describe(name)}: it must be of small letters, digits and "
                          "hyphens, for folders have it")  # fmt: skip


def _check(study: Study, path: StoragePath) -> None:
    for arm in study.arms:
        _check_arm(study, arm, path)
    # First all arms alone, because what is wrong in one tells more.
    seen: dict[tuple[str, object], str] = {}
    for arm in study.arms:
        config = study.measuring(arm, 0) if arm.fields.graft else study.run(arm, 0)
        what = config_digest(changed(config, name="arm")), arm.fields.graft
        if what in seen:
            raise ConfigError(f"{path}: the arms {seen[what]} and {arm.name} are the same run: change or "
                              "leave out one of them")  # fmt: skip
        seen[what] = arm.name
    _require_same_measure(study, path)
    if study.fields.axis == "x":
        for arm in study.arms:
            if arm.fields.x is None:
                raise ConfigError(
                    f"{path}: arm {arm.name} has no x, which axis: x needs of every arm"
                )
    lines = [arm for arm in study.arms if not arm.measured_apart]
    if study.fields.axis == "version" and not 1 <= len(lines) <= MOST_LINES:
        raise ConfigError(f"{path}: axis is version with {len(lines)} arms that measure every version: it "
                          f"must have 1 to {MOST_LINES}")  # fmt: skip


def _check_arm(study: Study, arm: Arm, path: StoragePath) -> None:
    for key, setting in arm.changes.items():
        if key in OF_STUDIES:
            raise ConfigError(f"{setting.origin}: an arm cannot set {key}: {OF_STUDIES[key]}")
        if key.startswith("evaluation"):
            raise ConfigError(f"{setting.origin}: an arm cannot set {key}, for arms that are measured otherwise "
                              "cannot be compared: set it for all of them")  # fmt: skip
    if graft := arm.fields.graft:
        others = [
            each.name for each in study.arms if not each.fields.graft and not each.fields.external
        ]
        if graft not in others:
            raise ConfigError(f"{path}: graft of arm {arm.name} is {describe(graft)}: it must be one of "
                              f"{', '.join(others)}")  # fmt: skip
        if arm.changes or arm.fields.external or arm.fields.recipe:
            first = next(iter(arm.changes), "external" if arm.fields.external else "recipe")
            raise ConfigError(f"{path}: arm {arm.name} sets {first}, but it is measured on the runs of {graft} "
                              "and has none of its own")  # fmt: skip
        study.measuring(arm, 0)
        return
    own = study.fields
    if arm.fields.external and not (own.server and own.server_model):
        raise ConfigError(f"{path}: a server plays the {' and '.join(arm.fields.external)} of arm {arm.name}: "
                          "give server=http://HOST:PORT/v1 server_model=NAME")  # fmt: skip
    if arm.measured_apart:
        study.measuring(arm, 0)
    study.run(arm, 0)


def _require_same_measure(study: Study, path: StoragePath) -> None:
    """Recipes may each have settings of their own that are tried, such as guidances, but what is measured is
    the same."""
    runs = [(arm, study.measuring(arm, 0).evaluation) for arm in study.arms]
    (first, wanted), *others = runs
    for arm, found in others:
        for name in MEASURED:
            if getattr(found, name) != getattr(wanted, name):
                raise ConfigError(f"{path}: evaluation.{name} is {getattr(found, name)} in arm {arm.name} and "
                                  f"{getattr(wanted, name)} in {first.name}, so they cannot be compared: set it "
                                  "for all arms")  # fmt: skip
