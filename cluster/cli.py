"""The command line: run, resume, submit, evaluate, answer, score, draw, serve, study, report and the others.

Invariant: what a person can mend ends in one sentence on stderr and exit code 2; anything else
is a defect and keeps its traceback. Nothing heavy is imported to read the arguments.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import benchmark_commands, commands
from cluster.commands import STOPPED
from cluster.refusals import REFUSED, sentences

UNREAD = 128 + signal.SIGPIPE
"""What a shell says of a program that wrote to a pipe without a reader."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    args = _parse(argv)
    try:
        args.command(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped; the same command, or `unicorn-ray resume FOLDER`, goes on", file=sys.stderr)
        return STOPPED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return UNREAD
        refusals = sentences(error)
        if not refusals:
            raise
        for sentence in refusals:
            # Also where a path from the command line has line breaks in it.
            print(f"unicorn-ray: {' '.join(sentence.split())}", file=sys.stderr)
        return REFUSED
    return 0


def _nobody_reads() -> bool:
    """Whether what read our output has gone, as `head` does when it has enough. What is left of the output
    then goes nowhere, for Python writes it once more at its end."""
    out, poll = sys.stdout.fileno(), select.poll()
    poll.register(out, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), out)
    return True


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="unicorn-ray",
        description="A unified multimodal model that proposes, solves, judges and learns from itself.",
    )
    parser.add_argument(
        "--version", action=_Version, help="this program's version and what it stands on"
    )
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (arguments, command, description) in COMMANDS.items():
        kind = kinds.add_parser(name, help=description)
        arguments(kind)
        kind.set_defaults(command=command, kind=name)

    # argparse gives what follows an option to nobody: `run R --dry-run rounds=1`.
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "overrides") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


class _Version(argparse.Action):
    """Finds out only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from cluster import version

        print(version.describe())
        parser.exit()


def _run(parser: argparse.ArgumentParser) -> None:
    _takes_recipe(parser, "a YAML file, such as configs/tiny.yaml")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the whole configuration and what it needs"
    )
    _takes_gallery(parser, "127.0.0.1:0")


def _resume(parser: argparse.ArgumentParser) -> None:
    _takes_folder(parser)
    _takes_gallery(parser, "127.0.0.1:0")


def _submit(parser: argparse.ArgumentParser) -> None:
    _takes_recipe(parser, "such as configs/tiny.yaml")
    _takes_gallery(parser, "127.0.0.1:8270")
    parser.add_argument("--no-wait", action="store_true", help="do not follow the job's log")
    _takes_address(parser)


def _stop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="the name that `submit` printed")
    _takes_address(parser)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="FOLDER", help="such as runs/tiny")
    parser.add_argument("--list", action="store_true", help="say which tasks there are")
    parser.add_argument("--task", default="", metavar="NAME", help="one of --list, or a YAML file")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N instances")
    parser.add_argument(
        "--output", default="", metavar="DIR", help="where the samples go (default: beside FOLDER)"
    )
    _takes_overrides(parser)


def _answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="FOLDER", help="such as runs/tiny")
    _takes_benchmark(parser)
    parser.add_argument(
        "--output",
        default="",
        metavar="DIR",
        help="where answers.jsonl goes (default: beside FOLDER)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    _takes_overrides(parser)


def _score(parser: argparse.ArgumentParser) -> None:
    _takes_benchmark(parser)
    parser.add_argument(
        "--answers", default="", metavar="FILE", help="JSON lines of id and answer, of any model"
    )


def _draw(parser: argparse.ArgumentParser) -> None:
    _takes_folder(parser)
    parser.add_argument("--benchmark", required=True, metavar="NAME", help="such as geneval")
    parser.add_argument(
        "--prompts",
        default="",
        metavar="PATH",
        help="the benchmark's own (default: those that ship)",
    )
    parser.add_argument(
        "--preset",
        default="",
        metavar="NAME",
        help="the settings of released code, such as unicorn",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N prompts")
    parser.add_argument(
        "--output", default="", metavar="DIR", help="where the pictures go (default: beside FOLDER)"
    )
    _takes_overrides(parser)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="a run or a checkpoint, such as runs/tiny")
    parser.add_argument("--host", default="127.0.0.1", help="whom to answer; 0.0.0.0 for everybody")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    _takes_overrides(parser)


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", metavar="STUDY", help="one of --list, or a YAML file")
    parser.add_argument("--list", action="store_true", help="say which studies there are")
    parser.add_argument("--seeds", default="", metavar="0,1,2", help="in place of the study's own")
    parser.add_argument(
        "--dry-run", action="store_true", help="say which runs are left, and what they need"
    )
    _takes_overrides(parser)


def _gallery(parser: argparse.ArgumentParser) -> None:
    _takes_folder(parser)
    parser.add_argument("--host", default="127.0.0.1", help="whom to answer; 0.0.0.0 for everybody")
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")


def _chaos(parser: argparse.ArgumentParser) -> None:
    _takes_recipe(parser, "such as configs/chaos.yaml")
    parser.add_argument("--seed", type=int, default=0, help="who is killed, and when")
    parser.add_argument("--kills", type=int, default=5)


def _dashboards(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="see docs/watching.md")


def _takes_recipe(parser: argparse.ArgumentParser, description: str) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help=description)
    _takes_overrides(parser)


def _takes_benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="say which benchmarks there are")
    parser.add_argument("--benchmark", default="", metavar="NAME", help="one of --list")
    parser.add_argument("--data", default="", metavar="PATH", help="as its authors release them")
    parser.add_argument("--drawn", default="", metavar="DIR", help="drawings that are judged")
    parser.add_argument(
        "--server", default="", metavar="URL", help="an OpenAI-compatible server that is asked"
    )
    parser.add_argument("--model", default="", metavar="NAME", help="one that the server serves")
    parser.add_argument(
        "--at-once", type=int, default=8, metavar="N", help="requests in flight (default: 8)"
    )


def _takes_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="such as runs/tiny")


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


COMMANDS = {
    "run": (_run, commands.run, "do a recipe, or go on with the run that it began"),
    "resume": (_resume, commands.resume, "go on with the run of a folder"),
    "submit": (_submit, commands.submit, "do a recipe as a job of a Ray cluster"),
    "stop": (_stop, commands.stop, "stop a job; the same submission again goes on"),
    "evaluate": (_evaluate, commands.evaluate, "measure a checkpoint, or a run's newest weights"),
    "answer": (
        _answer,
        benchmark_commands.answer,
        "have a model answer the questions of a benchmark",
    ),
    "score": (_score, benchmark_commands.score, "score a benchmark's answers, whoever gave them"),
    "draw": (_draw, benchmark_commands.draw, "draw a benchmark's prompts for its official scorer"),
    "serve": (_serve, commands.serve, "answer as the API of OpenAI does, for who has its clients"),
    "study": (
        _study,
        commands.study,
        "do a recipe's variants with several seeds, and compare them",
    ),
    "report": (_takes_folder, commands.report, "write the report of a run, finished or not"),
    "gallery": (_gallery, commands.gallery, "look at a run, finished or not, in a browser"),
    "chaos": (
        _chaos,
        commands.chaos,
        "run a recipe while its processes are killed, and compare with a calm run",
    ),
    "dashboards": (
        _dashboards,
        commands.dashboards,
        "write what Grafana shows of runs, and what Prometheus warns of",
    ),
}
"""Of each command its arguments, what it does, and its line in --help."""
