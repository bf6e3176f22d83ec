"""What a bug report has to name: the versions of this program and of what it stands on.

Invariant: nothing heavy is imported to say it, and nothing that is missing is an error.
"""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
STANDS_ON = ("torch", "ray", "pyarrow", "transformers")
MISSING = "not installed"


def describe() -> str:
    """One line, such as `unicorn-ray 0.1.0 (commit 1a2b3c4), Python 3.11.7, torch 2.13.0, ...`."""
    own = f"unicorn-ray {program()}"
    others = [f"{name} {_version(name)}" for name in STANDS_ON]
    return ", ".join([own, f"Python {platform.python_version()}", *others])


def program() -> str:
    """The version of this program, and its commit in a clone."""
    commit = _commit()
    return _version("unicorn-ray") + (f" (commit {commit})" if commit else "")


def _version(name: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return MISSING


def _commit() -> str:
    """The commit of the clone that this runs from, with a + where files differ from it; empty
    outside a clone."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()
    return ""
