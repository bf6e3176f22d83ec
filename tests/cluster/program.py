"""The real program, in a process of its own in which all that takes long to import is there already.

What depends on the order of imports needs a process that begins with nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_processes = get_context("forkserver")
_processes.set_forkserver_preload(["ray", "torch", "cluster.api", "cluster.evaluate"])


def unicorn(*words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """`unicorn-ray` with these words, as a person types it in the folder `cwd`."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "stdout"), Path(folder, "stderr")
        process = _processes.Process(target=_main, args=(words, cwd, env, *map(str, said)))
        process.start()
        process.join(300)  # a limit for a hang, not for a busy machine
        if process.exitcode is None:
            process.kill()
        assert process.exitcode is not None, f"{words} did not end within 300 s"
        return subprocess.CompletedProcess(
            words, process.exitcode, *(file.read_text() for file in said)
        )


def refused(*words: str, cwd: Path, **env: str) -> str:
    """The one sentence with which the program ends with exit code 2."""
    done = unicorn(*words, cwd=cwd, **env)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("unicorn-ray: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def _main(words: tuple[str, ...], cwd: Path, env: dict[str, str], out: str, error: str) -> None:
    for number, file in ((1, out), (2, error)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.update(env)
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    from cluster.cli import main

    sys.exit(main(words))
