"""The command line: run, resume, evaluate, report, chaos, dashboards.

Invariant: what a person can mend ends in one sentence on stderr and exit code 2; anything else
is a defect and keeps its traceback. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.refusals import REFUSED, sentences

if TYPE_CHECKING:
    from cluster.needs import Machine
    from trainer.config import RunConfig

STOPPED = 130
DIFFERENT = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    args = _parse(argv)
    try:
        args.command(args)
    except KeyboardInterrupt:
        print("stopped; the same command, or `unicorn-ray resume FOLDER`, goes on", file=sys.stderr)
        return STOPPED
    except Exception as error:
        refusals = sentences(error)
        if not refusals:
            raise
        for sentence in refusals:
            # Also where a path from the command line has line breaks in it.
            print(f"unicorn-ray: {' '.join(sentence.split())}", file=sys.stderr)
        return REFUSED
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="unicorn-ray",
        description="A unified multimodal model that proposes, solves, judges and learns from itself.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="do a recipe, or go on with the run that it began")
    run.add_argument("recipe", metavar="RECIPE", help="a YAML file, such as configs/tiny.yaml")
    _takes_overrides(run)
    run.add_argument(
        "--dry-run", action="store_true", help="show the whole configuration and what it needs"
    )
    run.set_defaults(command=_run)

    resume = commands.add_parser("resume", help="go on with the run of a folder")
    resume.add_argument("folder", type=Path, metavar="FOLDER", help="such as runs/tiny")
    resume.set_defaults(command=_resume)

    evaluate = commands.add_parser(
        "evaluate", help="measure a checkpoint, or a run's newest weights"
    )
    evaluate.add_argument("target", type=Path, metavar="FOLDER", help="such as runs/tiny")
    _takes_overrides(evaluate)
    evaluate.set_defaults(command=_evaluate)

    report = commands.add_parser("report", help="write the report of a run, finished or not")
    report.add_argument("folder", type=Path, metavar="FOLDER", help="such as runs/tiny")
    report.set_defaults(command=_report)

    chaos = commands.add_parser(
        "chaos", help="run a recipe while its processes are killed, and compare with a calm run"
    )
    chaos.add_argument("recipe", metavar="RECIPE", help="such as configs/chaos.yaml")
    chaos.add_argument("--seed", type=int, default=0, help="who is killed, and when")
    chaos.add_argument("--kills", type=int, default=5)
    _takes_overrides(chaos)
    chaos.set_defaults(command=_chaos)

    dashboards = commands.add_parser(
        "dashboards", help="write what Grafana shows of runs, and what Prometheus warns of"
    )
    dashboards.add_argument("folder", type=Path, metavar="DIR", help="see docs/watching.md")
    dashboards.set_defaults(command=_dashboards)

    # argparse gives what follows an option to nobody: `run R --dry-run rounds=1`.
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "overrides") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def _takes_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="FIELD=VALUE",
        help="such as rounds=2 or trainer.lr=2e-4",
    )


def _run(args: argparse.Namespace) -> None:
    from cluster import dry_run, recipe
    from policies.registry import footprint

    config = recipe.load(args.recipe, args.overrides)
    if args.dry_run:
        table = dry_run.table(config, footprint(config.policy), _machine())
        print(f"{recipe.dump(config)}\n{table}")
        return
    _preflight(config)
    recipe.claim_folder(config)
    _selfplay(config)


def _resume(args: argparse.Namespace) -> None:
    from cluster import recipe

    config = recipe.load_folder(args.folder)
    _preflight(config)
    _selfplay(config)


def _report(args: argparse.Namespace) -> None:
    from cluster import recipe

    recipe.load_folder(args.folder)  # first: it is quick to say that there is no run

    from cluster import report

    print(report.write(args.folder))


def _evaluate(args: argparse.Namespace) -> None:
    from cluster import own_ray

    own_ray.settle()

    from cluster import evaluate, preflight
    from cluster.progress import Progress, table
    from policies.registry import checkpoint_folder

    config = evaluate.target(args.target, args.overrides)
    preflight.check_measuring(config, _machine(), checkpoint_folder(config.policy))
    with own_ray.connected():
        found = evaluate.scores(config, Progress(sys.stdout))
    print("\n".join(table({}, found, "score")))


def _chaos(args: argparse.Namespace) -> None:
    from cluster import recipe

    config = recipe.load(args.recipe, args.overrides)
    _preflight(config)

    from cluster import own_ray

    own_ray.settle()

    from cluster import chaos, verdict

    if os.environ.get(own_ray.ADDRESS):
        raise chaos.ChaosError(f"chaos kills only a Ray of its own: unset {own_ray.ADDRESS}")

    def tell(kill: chaos.Kill) -> None:
        print(f"killed: {kill.kind} ({kill.victim.who}, process {kill.victim.pid})", flush=True)

    print(f"the run in peace, into {config.folder}/{config.name}-peace", flush=True)
    peace = chaos.in_peace(config)
    print(f"the run in chaos, into {config.folder}/{config.name}-chaos-{args.seed}", flush=True)
    outcome = chaos.in_chaos(config, args.seed, args.kills, peace.seconds, tell)
    found = verdict.compare(config, peace, outcome)
    print("\n".join(verdict.table(found)))
    if not found.same:
        sys.exit(DIFFERENT)


def _dashboards(args: argparse.Namespace) -> None:
    from cluster.grafana import dashboard

    print("\n".join(map(str, dashboard.write(args.folder))))


def _preflight(config: RunConfig) -> None:
    from cluster import preflight
    from policies.registry import checkpoint_folder

    room = preflight.room(Path(config.folder) / config.name)
    preflight.check(config, _machine(), room, checkpoint_folder(config.policy))


def _machine() -> Machine:
    """This one; a cluster that is named by its address grows, and is not judged here."""
    from cluster import preflight
    from cluster.needs import Machine

    known = not os.environ.get("RAY_ADDRESS")
    return preflight.this_machine() if known else Machine(math.inf, math.inf)


def _selfplay(config: RunConfig) -> None:
    from cluster import own_ray

    own_ray.settle()

    from cluster import report
    from cluster.lock import driving
    from cluster.progress import Progress
    from trainer import selfplay

    progress = Progress(sys.stdout)
    progress.started(config)
    # Workers have working directories of their own.
    folder = Path(config.folder).absolute()
    with driving(folder / config.name), own_ray.connected():
        selfplay.run(replace(config, folder=str(folder)), progress)
    written = report.write(folder / config.name)
    progress.finished(Path(config.folder) / config.name / written.name)
