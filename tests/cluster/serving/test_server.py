"""What is refused before anything starts, and what the server says of itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from actors.storage.paths import parse_path
from cluster.serving.config import ServeConfig
from cluster.serving.server import Served, ServeError, ready, split
from policies.config import ConfigError

BASE = parse_path("policies/tiny/base")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def at(host: str, token: str = "", port: int = 0) -> Served:
    served = ready(BASE, ServeConfig(), [], host, port, token)
    served.listening.close()
    return served


def test_where_it_answers() -> None:
    def link(host: str) -> str:
        served = ready(BASE, ServeConfig(), [], host, 0, "")
        port = served.listening.getsockname()[1]
        where = served.link.removeprefix("http://").removesuffix(f":{port}/v1")
        # Whoever follows the link arrives.
        socket.create_connection((where.strip("[]"), port), 10).close()
        served.listening.close()
        return where

    assert link("127.0.0.1") == "127.0.0.1" == link("0.0.0.0")
    if socket.has_ipv6:
        assert link("::1") == "[::1]" == link("::")


def test_ports_and_hosts_that_cannot_be_had(taken: int) -> None:
    for host, port in (("127.0.0.1", taken), ("127.0.0.1", 70000), ("no.such.invalid", 0), ("", 0)):
        with pytest.raises(ServeError, match="cannot listen at"):
            at(host, port=port)


def test_what_would_wait_for_ever_is_refused() -> None:
    for field in ("serve.cpus=1000", "serve.min_replicas=999999 serve.max_replicas=999999"):
        config, _ = split(field.split())
        with pytest.raises(ConfigError, match="would wait for ever; lower serve.cpus"):
            ready(BASE, config, [], "127.0.0.1", 0, "")


def test_what_is_for_the_server_and_what_for_the_run() -> None:
    config, others = split(["serve.batch=4", "policy.dtype=float32", "serve.name=a"])
    assert (config.batch, config.name, others) == (4, "a", ["policy.dtype=float32"])
    with pytest.raises(ConfigError, match="serve"):
        split(["serve.batches=4"])
    with pytest.raises(ConfigError, match="min_replicas"):
        split(["serve.min_replicas=3"])
