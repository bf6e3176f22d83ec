"""What each command does, once its arguments are read.

Invariant: what can be refused is refused before any work starts, and before Ray starts. Nothing
heavy is imported before it is needed: a mistake is told in a moment.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from actors.storage import storage
from actors.storage.paths import parse_path, run_folder
from cluster import checks
from policies.errors import ConfigError

if TYPE_CHECKING:
    from cluster.gallery.address import GalleryAddress
    from trainer.config import RunConfig

STOPPED = 130
DIFFERENT = 1


def run(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe

    config = recipe.load(args.recipe, args.overrides)
    if args.dry_run:
        from actors.hygiene.requirements import require_filters
        from cluster.recipes import tasks
        from cluster.sizing import dry_run, preflight
        from policies.registry import footprint

        size = footprint(config.policy)
        require_filters(config.judge.hygiene)
        tasks.of_run(config)
        preflight.check_family(config, size)
        table = dry_run.table(config, size, checks.machine())
        print(f"{recipe.dump(config)}\n{table}")
        return

    from cluster import api

    api.run(config, gallery=args.gallery)


def submit(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe
    from cluster.session import jobs
    from cluster.sizing import capacity
    from cluster.sizing.needs import needs

    config = recipe.load(args.recipe, args.overrides)
    jobs.require_reachable(config)
    address = checks.gallery_address(args.gallery)
    client = jobs.connect(where := jobs.address(args.address))
    capacity.require(f"run {config.name}", needs(config), capacity.behind(where))
    job = jobs.submit(client, config, args.gallery, _link(address, where, config))
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
    from cluster import api

    api.run(api.load_run(args.folder).config, gallery=args.gallery)


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
    if args.list:
        from cluster.recipes import tasks

        print(tasks.listed())
        return
    if not args.target:
        raise ConfigError("evaluate: name a FOLDER, such as runs/tiny, or ask for --list")
    checks.at_least_one("--limit", args.limit)
    if args.task:
        _evaluate_task(args)
    else:
        _evaluate_as_a_run(args)


def _evaluate_task(args: argparse.Namespace) -> None:
    from cluster.session import ray_session

    ray_session.settle()

    from cluster import evaluate_task
    from cluster.report import task_page
    from cluster.sizing import preflight
    from cluster.sizing.needs import measuring
    from cluster.watch.progress import Progress
    from policies.registry import checkpoint_folder

    run = evaluate_task.ready(
        args.task, parse_path(args.target), args.overrides, args.limit, args.output
    )
    preflight.check_measuring(run.config, checks.machine(), checkpoint_folder(run.config.policy))
    with ray_session.connected():
        checks.capacity("measuring", measuring(run.config))
        found, samples = evaluate_task.scores(run, Progress(sys.stdout))
    print("\n".join([*evaluate_task.table(found), f"report: {task_page.write(samples)}"]))


def _evaluate_as_a_run(args: argparse.Namespace) -> None:
    from cluster.session import ray_session

    ray_session.settle()

    from cluster import evaluate
    from cluster.sizing import preflight
    from cluster.sizing.needs import measuring
    from cluster.watch.progress import Progress, table
    from policies.registry import checkpoint_folder

    config = evaluate.target(parse_path(args.target), args.overrides)
    preflight.check_measuring(config, checks.machine(), checkpoint_folder(config.policy))
    with ray_session.connected():
        checks.capacity("measuring", measuring(config))
        found = evaluate.scores(config, Progress(sys.stdout))
    print("\n".join(table({}, found, "score")))


def serve(args: argparse.Namespace) -> None:
    from cluster.session import ray_session

    ray_session.settle()

    from cluster.serving import server

    config, overrides = server.split(args.overrides)
    token = os.environ.get(server.TOKEN, "")
    served = server.ready(parse_path(args.folder), config, overrides, args.host, args.port, token)
    server.in_front(served, lambda text: print(text, flush=True))


def study(args: argparse.Namespace) -> None:
    from cluster.studies import study as studies

    if args.list:
        print(studies.listed())
        return
    if not args.study:
        raise ConfigError("study: name a STUDY, such as ablations, or ask for --list")
    seeds = [f"seeds=[{args.seeds}]"] if args.seeds else []
    asked = studies.load(args.study, [*args.overrides, *seeds])

    from cluster.session import ray_session

    ray_session.settle()

    from cluster.studies import plan, runner

    if args.dry_run:
        print("\n".join(plan.described(asked)))
        return
    table = runner.do(asked, lambda text: print(text, flush=True))
    print(f"{storage.read(table).decode()}\n{table} with {runner.PLOT} and {runner.RESULTS}")


def chaos(args: argparse.Namespace) -> None:
    from cluster.recipes import recipe

    config = recipe.load(args.recipe, args.overrides)
    checks.preflight(config)

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


def _link(address: GalleryAddress | None, dashboard: str, config: RunConfig) -> str:
    """The link of the run's gallery on the head, for the dashboard's users; empty for a port that
    nobody can tell yet."""
    head = urlsplit(dashboard).hostname or ""
    return address.link_at(head, str(run_folder(config))) if address and address.port else ""
