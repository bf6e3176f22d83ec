"""Whether a long run grows: memory and open files of every process that lives as long as the run.

Invariant: each process is compared with itself: its median in the first third of the rounds with
that in the last. A process that was replaced meanwhile is reported and not compared. Memory is the
kernel's count of what the process has for itself (private, or its share of shared pages), so
weights that replicas map together do not count for each.

    python -m benchmarks.many_rounds [--rounds 60] [--folder DIR]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from actors.storage import events

ALLOWED = 0.05
LOOK_S = 2.0
MINIMAL = (
    "proposer.prompts=10", "proposer.reseed_every=10", "solver.rollouts=2", "judge.votes=1",
    "judge.accept_at=1", "evaluation.prompts=10", "evaluation.scenes=5",
)  # fmt: skip
RAYS_OWN = ("raylet", "gcs_server")
Look = tuple[int, int, int]
"""The round that is being sampled, memory in KiB, the number of open files."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument(
        "--folder", type=Path, help="where the run goes; by default one that is deleted"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        looks = watched(options.folder or Path(spare), options.rounds)
    raise SystemExit(report(looks, options.rounds))


def watched(folder: Path, rounds: int) -> dict[str, list[Look]]:
    """Does the run; returns the observations of each process, by "name (pid)"."""
    command = [sys.executable, "-m", "cluster", "run", "configs/smoke.yaml", f"rounds={rounds}",
               f"folder={folder}", "name=many-rounds", *MINIMAL]  # fmt: skip
    run, looks = (
        subprocess.Popen(command, stdout=subprocess.DEVNULL),
        defaultdict[str, list[Look]](list),
    )
    home = folder / "many-rounds"
    while run.poll() is None:
        round_ = len(list((home / "replay").glob("round-*")))
        for who, pid in processes(home, run.pid).items():
            with suppress(OSError):
                looks[f"{who} ({pid})"].append((round_, memory_kib(pid), open_files(pid)))
        time.sleep(LOOK_S)
    if run.returncode:
        raise SystemExit(f"the run ended with exit code {run.returncode}")
    return looks


def processes(home: Path, driver: int) -> dict[str, int]:
    """Returns each actor's newest process in events.jsonl, and those of the driver's own Ray."""
    found = {e["who"]: int(e["pid"]) for e in events.read(home) if e["what"] == events.STARTED}
    for child in Path(f"/proc/{driver}/task/{driver}/children").read_text().split():
        with suppress(OSError):
            if (name := Path(f"/proc/{child}/comm").read_text().strip()) in RAYS_OWN:
                found[name] = int(child)
    return found


def memory_kib(pid: int) -> int:
    """Returns the proportional set size, without shared memory that is not a file."""
    fields = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return int(fields["Pss_Anon"].split()[0]) + int(fields["Pss_File"].split()[0])


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def report(looks: dict[str, list[Look]], rounds: int) -> int:
    """Prints a row for each process; returns 1 if one of them grew by more than ALLOWED."""
    grew = False
    print(
        f"{'process':34} {'MiB first':>10} {'last':>7} {'ratio':>6}   "
        f"{'files first':>11} {'last':>5}"
    )
    for who, seen in sorted(looks.items()):
        first = [look for look in seen if look[0] <= rounds / 3]
        last = [look for look in seen if look[0] > 2 * rounds / 3]
        if not first or not last:
            print(f"{who:34} lived only a part of the run: rounds {seen[0][0]} to {seen[-1][0]}")
            continue
        kib, files = ([statistics.median(look[part] for look in third) for third in (first, last)]
                      for part in (1, 2))  # fmt: skip
        grown = kib[1] > kib[0] * (1 + ALLOWED) or files[1] > files[0] * (1 + ALLOWED)
        grew |= grown
        print(f"{who:34} {kib[0] / 1024:10.1f} {kib[1] / 1024:7.1f} {kib[1] / kib[0]:6.3f}   "
              f"{files[0]:11.0f} {files[1]:5.0f}{'   GREW' if grown else ''}")  # fmt: skip
    print("MISSED: something grows" if grew else f"flat within {ALLOWED:.0%}")
    return int(grew)


if __name__ == "__main__":
    main()
