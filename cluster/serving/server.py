"""Starts and ends the server.

Invariant: what can be refused is refused before anything starts. The weights are in the object store once
a node; what was started here ends here, and nothing else of a cluster does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from actors.pool.faults import last_line
from actors.storage.paths import StoragePath, parse_path
from cluster import access, checks
from cluster.evaluate import target
from cluster.recipes.recipe import override_settings, split_overrides
from cluster.recipes.settings import Settings, build
from cluster.serving.config import ServeConfig
from cluster.serving.reading import Reader
from cluster.session import ray_session
from cluster.sizing.needs import Need, require_room
from policies.config import Section, changed
from policies.errors import UserError
from trainer.config import RunConfig

TOKEN = "UNICORN_SERVE_TOKEN"
PREFIX = "serve."


class ServeError(UserError):
    """A server that cannot start; the message says why, and what to do."""


@dataclass(frozen=True)
class Served:
    """What is served, and where."""

    run: RunConfig
    config: ServeConfig
    host: str
    listening: socket.socket
    token: str

    @property
    def link(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{access.origin(host, self.listening.getsockname()[1])}/v1"

    @property
    def announcement(self) -> str:
        who = "answers" if not self.token else f"answers who brings the value of {TOKEN}"
        warning = (
            ""
            if self.token or access.is_loopback(self.host)
            else (f" | open to whoever reaches this machine; {TOKEN} would close it")
        )
        return f"{self.config.name} {who} at {self.link}{warning}"


class _Overrides(Section):
    serve: ServeConfig = ServeConfig()


def split(overrides: Sequence[str]) -> tuple[ServeConfig, list[str]]:
    """What begins with "serve." among overrides as a configuration, and the run's. Raises ConfigError."""
    own, others = split_overrides(overrides, PREFIX)
    settings: Settings = {}
    for each in own:
        settings |= override_settings(each)
    return build(_Overrides, settings).serve, others


def _needs(config: ServeConfig) -> list[Need]:
    return [Need("serve", config.min_replicas, config.cpus, config.gpus)]


def ready(
    path: StoragePath,
    config: ServeConfig,
    overrides: Sequence[str],
    host: str,
    port: int,
    token: str,
) -> Served:
    """Reads what is to be served. Raises UserError."""
    try:
        import ray.serve  # noqa: F401
    except ImportError as error:
        raise ServeError(f"serving needs {error.name}: install 'unicorn-ray[serve]'") from None
    run = target(path, overrides, by_suite=False)
    name = config.name or Path(str(path)).absolute().name
    require_room("the server", _needs(config), checks.machine())
    return Served(run, changed(config, name=name), host, _listening(host, port), token)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return access.listen(host, port, 1024)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ServeError(
            f"the server cannot listen at {host}:{port} ({error}): give another --port, or 0 for any "
            "that is free"
        ) from None


@contextmanager
def deployed(served: Served) -> Iterator[Any]:
    """Ray Serve's handle of the model, while the context lasts. Needs a connected Ray."""
    import ray
    from ray import serve

    from actors.weights.store import WeightStoreActor
    from actors.weights.version_folder import VersionFolder
    from cluster.serving.model import Model, ModelSpec

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    run, config = served.run, served.config
    with tempfile.TemporaryDirectory(prefix="unicorn-") as folder:
        # Its own: several may serve on one cluster.
        name = f"unicorn-serve-{secrets.token_hex(4)}"
        weights: Any = WeightStoreActor.options(name="weight_store", namespace=name)
        store = weights.remote(1, VersionFolder(parse_path(folder), run.policy))
        ray.get(store.get.remote(0))  # however long it reads; it says what it cannot read
        deployment: Any = Model
        model = deployment.options(
            ray_actor_options={"num_cpus": config.cpus, "num_gpus": config.gpus},
            max_ongoing_requests=4 * config.max_replicas,  # batches: the gateway sends fewer
            autoscaling_config={
                "min_replicas": config.min_replicas, "max_replicas": config.max_replicas,
                "target_ongoing_requests": 2,
            },
        ).bind(ModelSpec(run.policy, config, name))  # fmt: skip
        # The gateway is this process: a proxy before it would cost as much as a small drawing.
        serve.start(
            proxy_location="Disabled",
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        try:
            yield _started(model, name)
        finally:
            # A Ray of our own ends with this command, or is why it ends: then nobody would answer.
            if os.environ.get(ray_session.ADDRESS):
                serve.delete(name)
                ray.kill(store)


def _started(model: Any, name: str) -> Any:
    from ray import serve

    try:
        return serve.run(model, name=name, route_prefix=None)
    except RuntimeError as error:
        raise ServeError(
            f"Ray Serve could not start the model ({last_line(error)}): its replicas must have room for "
            "the weights, by serve.cpus, serve.gpus and policy.dtype"
        ) from error


def in_front(served: Served, announce: Callable[[str], None]) -> None:
    """Serves until Ctrl-C or SIGTERM. Raises UserError, also if Ray ends meanwhile."""
    # Outermost, so that `connected` sees what it is interrupted by when its Ray ends.
    with suppress(KeyboardInterrupt), ray_session.connected():
        checks.capacity("the server", _needs(served.config))
        with deployed(served) as model:
            asyncio.run(_answer(served, model, announce))
    announce("stopped")


async def _answer(served: Served, model: Any, announce: Callable[[str], None]) -> None:
    from actors.roles.templates import load_templates
    from cluster.serving.calling import Caller
    from cluster.serving.gateway import Gateway
    from evaluation.selection import fixed_sampling

    run, config = served.run, served.config
    gateway = Gateway(
        config, Reader(config, served.host, access.digest_of(served.token)), Caller(model, config),
        load_templates(run.actors.templates), fixed_sampling(run), int(time.time()),
    )  # fmt: skip
    # An access log would take as long as an answer; who hangs up is not answered any more.
    runner = web.AppRunner(gateway.application(), access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.SockSite(runner, served.listening).start()
        announce(served.announcement)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
