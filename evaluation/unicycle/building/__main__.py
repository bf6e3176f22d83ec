"""The command that makes instances.

    python -m evaluation.unicycle.building own             # writes the set that ships again
    python -m evaluation.unicycle.building tiif CHECKOUT FILE

Invariant: what is written is read back first, and a file appears whole or not at all.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from actors.storage import storage
from evaluation.unicycle import OWN
from evaluation.unicycle.building import own, tiif
from evaluation.unicycle.instances import Instance, written
from policies.errors import UserError

REFUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    args = _parse(argv)
    try:
        args.make(args)
    except UserError as error:
        print(f"unicycle: {error}", file=sys.stderr)
        return REFUSED
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluation.unicycle.building")
    kinds = parser.add_subparsers(required=True, metavar="SET")
    ours = kinds.add_parser("own", help="the set that ships")
    ours.add_argument("--seed", type=int, default=own.SEED)
    ours.add_argument("--to", type=Path, default=OWN, metavar="FILE")
    ours.set_defaults(make=_own)
    theirs = kinds.add_parser("tiif", help="a set from a checkout of TIIF-Bench")
    theirs.add_argument("checkout", type=Path)
    theirs.add_argument("to", type=Path, metavar="FILE")
    theirs.add_argument("--split", default="test", help="test, or testmini")
    theirs.add_argument("--seed", type=int, default=0, help="the order of options follows from it")
    theirs.set_defaults(make=_tiif)
    return parser.parse_args(argv)


def _own(args: argparse.Namespace) -> None:
    _write(args.to, own.build(args.seed))


def _tiif(args: argparse.Namespace) -> None:
    made, report = tiif.build(args.checkout, args.split, args.seed)
    _write(args.to, made)
    for name, count in report.left_out.most_common():
        print(f"left out: {count} questions ({name})")
    for kind, count in report.rows.items():
        if missing := count - report.instances[kind]:
            print(f"left out: {missing} of {count} prompts of {kind}, without a question")
    print("\n".join(report.shifted))


def _write(file: Path, instances: Sequence[Instance]) -> None:
    storage.write(file, written(instances).encode())
    print(f"{file}: {len(instances)} instances")
    asked = Counter(question.kind for each in instances for question in each.questions)
    for kind, count in sorted(asked.items()):
        print(f"  {kind}: {count} questions ({100 * count / asked.total():.1f} %)")


if __name__ == "__main__":
    sys.exit(main())
