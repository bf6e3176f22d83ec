"""The command line: run, resume, submit, stop, evaluate, report, gallery, chaos, dashboards.

Invariant: what a person can mend ends in one sentence on stderr and exit code 2; anything else
is a defect and keeps its traceback. Nothing heavy is imported to read the arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import commands
from cluster.commands import STOPPED
from cluster.refusals import REFUSED, sentences


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
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")

    run = kinds.add_parser("run", help="do a recipe, or go on with the run that it began")
    run.add_argument("recipe", metavar="RECIPE", help="a YAML file, such as configs/tiny.yaml")
    _takes_overrides(run)
    run.add_argument(
        "--dry-run", action="store_true", help="show the whole configuration and what it needs"
    )
    _takes_gallery(run, "127.0.0.1:0")
    run.set_defaults(command=commands.run)

    resume = kinds.add_parser("resume", help="go on with the run of a folder")
    resume.add_argument("folder", metavar="FOLDER", help="such as runs/tiny")
    _takes_gallery(resume, "127.0.0.1:0")
    resume.set_defaults(command=commands.resume)

    submit = kinds.add_parser("submit", help="do a recipe as a job of a Ray cluster")
    submit.add_argument("recipe", metavar="RECIPE", help="such as configs/tiny.yaml")
    _takes_overrides(submit)
    _takes_gallery(submit, "127.0.0.1:8270")
    submit.add_argument("--no-wait", action="store_true", help="do not follow the job's log")
    _takes_address(submit)
    submit.set_defaults(command=commands.submit)

    stop = kinds.add_parser("stop", help="stop a job; the same submission again goes on")
    stop.add_argument("job", metavar="JOB", help="the name that `submit` printed")
    _takes_address(stop)
    stop.set_defaults(command=commands.stop)

    evaluate = kinds.add_parser("evaluate", help="measure a checkpoint, or a run's newest weights")
    evaluate.add_argument("target", metavar="FOLDER", help="such as runs/tiny")
    _takes_overrides(evaluate)
    evaluate.set_defaults(command=commands.evaluate)

    report = kinds.add_parser("report", help="write the report of a run, finished or not")
    report.add_argument("folder", metavar="FOLDER", help="such as runs/tiny")
    report.set_defaults(command=commands.report)

    gallery = kinds.add_parser("gallery", help="look at a run, finished or not, in a browser")
    gallery.add_argument("folder", metavar="FOLDER", help="such as runs/tiny")
    gallery.add_argument(
        "--host", default="127.0.0.1", help="whom to answer; 0.0.0.0 for everybody"
    )
    gallery.add_argument("--port", type=int, default=0, help="0 for any that is free")
    gallery.set_defaults(command=commands.gallery)

    chaos = kinds.add_parser(
        "chaos", help="run a recipe while its processes are killed, and compare with a calm run"
    )
    chaos.add_argument("recipe", metavar="RECIPE", help="such as configs/chaos.yaml")
    chaos.add_argument("--seed", type=int, default=0, help="who is killed, and when")
    chaos.add_argument("--kills", type=int, default=5)
    _takes_overrides(chaos)
    chaos.set_defaults(command=commands.chaos)

    dashboards = kinds.add_parser(
        "dashboards", help="write what Grafana shows of runs, and what Prometheus warns of"
    )
    dashboards.add_argument("folder", type=Path, metavar="DIR", help="see docs/watching.md")
    dashboards.set_defaults(command=commands.dashboards)

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


def _takes_gallery(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--gallery",
        default=default,
        metavar="HOST:PORT",
        help="where the run can be looked at meanwhile; port 0 for any that is free, or off "
        f"(default: {default})",
    )


def _takes_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        default="",
        metavar="http://HEAD:8265",
        help="the cluster's dashboard; by default what RAY_API_SERVER_ADDRESS names",
    )
