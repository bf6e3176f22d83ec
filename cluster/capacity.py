"""What the nodes of a cluster offer, compared with what a run asks of them.

Invariant: only what can never start is refused. A cluster that an autoscaler or an operator made is
not judged, for Ray does not tell how many nodes it may have: there, who finds no node says after
actors.start_deadline what it waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cluster.needs import Machine, Need, require_room
from cluster.own_ray import RayUnavailable
from policies.config import ConfigError
from policies.errors import brief

GROUP = "ray.io/node-group"
"""Ray's label of nodes that nobody started by hand."""


class Node(NamedTuple):
    offers: Mapping[str, float]
    made: bool
    """By an autoscaler or an operator, which may make more."""


def joined() -> list[Node]:
    """Of the Ray that this process is connected to."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return [_node(node["Resources"], node.get("Labels")) for node in alive]


def behind(address: str) -> list[Node]:
    """Of the Ray whose dashboard answers at `address`. Raises RayUnavailable."""
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        found: list[Any] = list_nodes(address, filters=[("state", "=", "ALIVE")], detail=True)
    except RayStateApiException as error:
        raise RayUnavailable(f"{address} does not tell its nodes ({brief(error)})") from error
    return [_node(node.resources_total, node.labels) for node in found]


def require(who: str, wanted: Sequence[Need], nodes: Sequence[Node]) -> None:
    """Raises ConfigError."""
    if any(node.made for node in nodes):
        return
    for need in wanted:
        _require_node(need, _that_offer(need.node, nodes))
    for place in dict.fromkeys(["", *(need.node for need in wanted)]):
        there = _that_offer(place, nodes)
        machine = Machine(_sum("CPU", there), _sum("GPU", there))
        has = f"the nodes that offer {place} have" if place else "this cluster has"
        require_room(who, [n for n in wanted if not place or n.node == place], machine, has)


def _require_node(need: Need, nodes: Sequence[Node]) -> None:
    field = need.actor.split()[0]
    if not nodes:
        raise ConfigError(
            f"{field}.node is {need.node!r}: no node of this cluster offers that resource; start "
            f"one with `ray start --resources='{{\"{need.node}\": 1}}'`, or leave the field empty"
        )
    if any(_fits(need, node) for node in nodes):
        return
    largest = ", ".join(f"{_most(kind, nodes):g} {kind}s" for kind in ("CPU", "GPU"))
    raise ConfigError(
        f"each {need.actor} asks for {need.cpus:g} CPUs and {need.gpus:g} GPUs of one node, which "
        f"none of the {len(nodes)} nodes has (at most {largest}): lower {field}.cpus or {field}.gpus"
    )


def _node(offers: Mapping[str, float] | None, labels: Mapping[str, str] | None) -> Node:
    return Node(offers or {}, bool((labels or {}).get(GROUP)))


def _that_offer(place: str, nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if not place or node.offers.get(place)]


def _fits(need: Need, node: Node) -> bool:
    asked = (("CPU", need.cpus), ("GPU", need.gpus))
    return all(node.offers.get(kind, 0.0) >= amount for kind, amount in asked)


def _sum(kind: str, nodes: Iterable[Node]) -> float:
    return sum(node.offers.get(kind, 0.0) for node in nodes)


def _most(kind: str, nodes: Iterable[Node]) -> float:
    return max(node.offers.get(kind, 0.0) for node in nodes)
