"""What the commands of the field's benchmarks do, once their arguments are read.

Invariant: as of cluster/commands.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actors.storage.paths import parse_path
from cluster import checks
from policies.errors import ConfigError

if TYPE_CHECKING:
    from evaluation.judges.server import ChatServer


def answer(args: argparse.Namespace) -> None:
    from evaluation.benchmarks import registry

    if args.list:
        print(registry.listed())
        return
    if bool(args.target) == bool(args.server):
        raise ConfigError("answer: name a FOLDER, such as runs/tiny, or a --server, and not both")
    if args.server and args.overrides:
        raise ConfigError(f"answer: {args.overrides[0]} is a setting of a FOLDER: leave it out")
    checks.at_least_one("--limit", args.limit)
    benchmark = registry.load(_given(args, "benchmark"))
    data, drawn = Path(_given(args, "data")), Path(args.drawn) if args.drawn else None

    from cluster.session import ray_session

    ray_session.settle()

    from cluster import answer
    from cluster.watch.progress import Progress

    asking, progress = answer.Asking(benchmark, data, drawn, args.limit), Progress(sys.stdout)
    if args.server:
        server = _server(args)
        print(answer.by_server(asking, server, args.model, _given(args, "output"), progress))
    else:
        path = parse_path(args.target)
        print(answer.by_model(asking, path, args.overrides, args.output, progress))


def score(args: argparse.Namespace) -> None:
    from evaluation.benchmarks import registry

    if args.list:
        print(registry.listed())
        return
    benchmark = registry.load(_given(args, "benchmark"))
    data, answers = Path(_given(args, "data")), Path(_given(args, "answers"))
    drawn = Path(args.drawn) if args.drawn else None

    from cluster import score

    server = _server(args) if args.server else None
    print("\n".join(score.scored(benchmark, data, drawn, answers, server)))


def draw(args: argparse.Namespace) -> None:
    checks.at_least_one("--limit", args.limit)

    from cluster.session import ray_session

    ray_session.settle()

    from cluster import draw
    from cluster.sizing import preflight
    from cluster.sizing.needs import drawing
    from cluster.watch.progress import Progress
    from policies.registry import checkpoint_folder

    run = draw.ready(
        args.benchmark, parse_path(args.folder), args.overrides, args.prompts, args.preset,
        args.output, args.limit,
    )  # fmt: skip
    preflight.check_drawing(run.config, checks.machine(), checkpoint_folder(run.config.policy))
    run.folder.claim(run.facts)
    with ray_session.connected():
        checks.capacity("drawing", drawing(run.config))
        counts = draw.pictures(run, Progress(sys.stdout))
    print("\n".join(draw.told(run, counts)))


def _given(args: argparse.Namespace, name: str) -> str:
    """Raises ConfigError for an option that is missing."""
    found: str = getattr(args, name)
    if not found:
        raise ConfigError(f"--{name} is missing: see unicorn-ray {args.kind} --help")
    return found


def _server(args: argparse.Namespace) -> ChatServer:
    """The server that the options name. Raises UserError."""
    from evaluation.judges.server import ChatServer

    checks.at_least_one("--at-once", args.at_once)
    return ChatServer(args.server, _given(args, "model"), args.at_once, setting="--server")
