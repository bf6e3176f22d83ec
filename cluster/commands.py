"""What each command does, once its arguments are read.

Invariant: what can be refused is refused before any work starts, and before Ray starts. Nothing
heavy is imported before it is needed: a mistake is told in a moment.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from actors.storage import storage
from actors.storage.paths import parse_path, run_folder

if TYPE_CHECKING:
    from cluster.gallery.address import GalleryAddress
    from cluster.sizing.needs import Machine, Need
    from trainer.config import RunConfig

STOPPED = 130
DIFFERENT = 1


def run(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe
    from cluster.session import jobs
    from cluster.sizing import dry_run
    from policies.registry import footprint

    config = recipe.load(args.recipe, args.overrides)
    if os.environ.get(jobs.INSIDE):
        jobs.require_shared(config)
    if args.dry_run:
        table = dry_run.table(config, footprint(config.policy), _machine())
        print(f"{recipe.dump(config)}\n{table}")
        return
    _preflight(config)
    address = _parse_gallery(args.gallery)
    recipe.claim_folder(config)
    _selfplay(config, address)


def submit(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe
    from cluster.session import jobs
    from cluster.sizing import capacity
    from cluster.sizing.needs import needs

    config = recipe.load(args.recipe, args.overrides)
    jobs.require_reachable(config)
    address = _parse_gallery(args.gallery)
    client = jobs.connect(where := jobs.address(args.address))
    capacity.require(f"run {config.name}", needs(config), capacity.behind(where))
    job = jobs.submit(client, config, args.gallery, _link(address, where))
    print(f"{job} does run {config.name} in {config.folder}/{config.name}", flush=True)
    if args.no_wait:
        return
    try:
        code = jobs.follow(client, job)
    except KeyboardInterrupt:
        print(f"not followed any more, {job} goes on; `unicorn-ray stop {job} --address={where}` "
              "stops it", file=sys.stderr)  # fmt: skip
        code = STOPPED
    if code:
        sys.exit(code)


def stop(args: argparse.Namespace) -> None:
    from cluster.session import jobs

    jobs.stop(jobs.connect(jobs.address(args.address)), args.job)
    print(f"{args.job} is stopped; the same submission again goes on with its run")


def resume(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe

    config = recipe.load_folder(parse_path(args.folder))
    _preflight(config)
    _selfplay(config, _parse_gallery(args.gallery))


def report(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe

    folder = parse_path(args.folder)
    recipe.load_folder(folder)  # first: it is quick to say that there is no run

    from actors.storage import bucket
    from cluster.report import page

    bucket.wait_at_most(0)
    print(page.write(folder))


def gallery(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe

    folder = parse_path(args.folder)
    recipe.load_folder(folder)

    from cluster.gallery import host
    from cluster.gallery.address import TOKEN, GalleryAddress

    address = GalleryAddress.of(args.host, args.port, os.environ.get(TOKEN, ""))
    host.in_front(folder, address, lambda text: print(text, flush=True))


def evaluate(args: argparse.Namespace) -> None:
    from cluster.session import ray_session

    ray_session.settle()

    from cluster import evaluate
    from cluster.sizing import preflight
    from cluster.sizing.needs import measuring
    from cluster.watch.progress import Progress, table
    from policies.registry import checkpoint_folder

    config = evaluate.target(parse_path(args.target), args.overrides)
    preflight.check_measuring(config, _machine(), checkpoint_folder(config.policy))
    with ray_session.connected():
        _require_capacity("measuring", measuring(config))
        found = evaluate.scores(config, Progress(sys.stdout))
    print("\n".join(table({}, found, "score")))


def chaos(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe

    config = recipe.load(args.recipe, args.overrides)
    _preflight(config)

    from cluster.chaos import storm, verdict
    from cluster.session import ray_session

    if storage.local_path(run_folder(config)) is None:
        raise storm.ChaosError(f"folder is {config.folder}: chaos wants one on this machine")
    if os.environ.get(ray_session.ADDRESS):
        raise storm.ChaosError(f"chaos kills only a Ray of its own: unset {ray_session.ADDRESS}")

    def tell(kill: storm.Kill) -> None:
        print(f"killed: {kill.kind} ({kill.victim.who}, process {kill.victim.pid})", flush=True)

    print(f"the run in peace, into {config.folder}/{config.name}-peace", flush=True)
    peace = storm.in_peace(config)
    print(f"the run in chaos, into {config.folder}/{config.name}-chaos-{args.seed}", flush=True)
    outcome = storm.in_chaos(config, args.seed, args.kills, peace.seconds, tell)
    found = verdict.compare(config, peace, outcome)
    print("\n".join(verdict.table(found)))
    if not found.same:
        sys.exit(DIFFERENT)


def dashboards(args: argparse.Namespace) -> None:
    from cluster.grafana import dashboard

    print("\n".join(map(str, dashboard.write(args.folder))))


def _preflight(config: RunConfig) -> None:
    from cluster.session import ray_session

    ray_session.settle()

    from cluster.sizing import preflight
    from cluster.watch import loggers
    from policies.registry import checkpoint_folder

    loggers.require(config.loggers, run_folder(config))
    room = preflight.room(run_folder(config))
    preflight.check(config, _machine(), room, checkpoint_folder(config.policy))


def _machine() -> Machine:
    """This one; a cluster that is named by its address is judged once it is joined."""
    from cluster.sizing import preflight
    from cluster.sizing.needs import Machine

    known = not os.environ.get("RAY_ADDRESS")
    return preflight.this_machine() if known else Machine(math.inf, math.inf)


def _parse_gallery(place: str) -> GalleryAddress | None:
    """Where the gallery of a run listens; None for none."""
    if place == "off":
        return None

    from cluster.gallery.address import TOKEN, GalleryAddress, GalleryError

    host, colon, port = place.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit()):
        raise GalleryError(
            f"--gallery is {place!r}: it must be HOST:PORT, such as 127.0.0.1:8270, or off"
        )
    return GalleryAddress.of(host.strip("[]"), int(port[:9]), os.environ.get(TOKEN, ""))


def _link(address: GalleryAddress | None, dashboard: str) -> str:
    """Of a gallery on the head, to the dashboard's users; empty if nobody can tell it yet."""
    head = urlsplit(dashboard).hostname or ""
    return address.link_at(head) if address and address.port else ""


def _require_capacity(who: str, wanted: list[Need]) -> None:
    """Of the cluster that was joined; this machine was asked before Ray started."""
    from cluster.session import ray_session
    from cluster.sizing import capacity

    if os.environ.get(ray_session.ADDRESS):
        capacity.require(who, wanted, capacity.joined())


def _selfplay(config: RunConfig, address: GalleryAddress | None) -> None:
    from cluster.gallery import host
    from cluster.report import page
    from cluster.session import ray_session
    from cluster.session.driver import driving
    from cluster.sizing.needs import needs
    from cluster.watch import loggers
    from cluster.watch.progress import Progress
    from policies.config import changed
    from trainer import selfplay

    progress = Progress(sys.stdout)
    progress.started(config)
    # Workers have working directories of their own.
    folder = run_folder(config).absolute()
    with (
        driving(folder, progress.note),
        loggers.following(folder, config.name, config.loggers),
        ray_session.connected(),
    ):
        _require_capacity(f"run {config.name}", needs(config))
        with host.beside(folder, address, progress.note):
            selfplay.run(changed(config, folder=str(folder.parent)), progress)
    progress.finished(run_folder(config) / page.write(folder).name)
