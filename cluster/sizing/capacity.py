"""Compares what the nodes of a cluster offer now, or can offer at most, with what a run asks for.

Invariant: only a run that can never start is refused. When a cluster can grow and its limit is
unknown, nothing is refused here: an actor that finds no node is reported after
actors.start_deadline, with what it waits for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cluster.session.ray_session import RayUnavailable
from cluster.sizing.needs import Machine, Need, require_room
from policies.config import ConfigError
from policies.errors import one_line

GROUP = "ray.io/node-group"
"""Ray's label on nodes that an autoscaler or an operator started; more of them may come."""
LAUNCHED = Path("~/ray_bootstrap_config.yaml")
"""The file that Ray's cluster launcher leaves on the head node; its autoscaler follows it."""


class Node(NamedTuple):
    offers: Mapping[str, float]
    group: str = ""
    copies: int = 1


class Cluster(NamedTuple):
    alive: Sequence[Node]
    to_come: Sequence[Node] | None = ()
    """Nodes that may still be started; None if that cannot be known."""


def joined() -> Cluster:
    """Returns the nodes of the Ray cluster that this process is connected to."""
    import ray

    alive = [_node(n["Resources"], n.get("Labels")) for n in ray.nodes() if n["Alive"]]
    return Cluster(alive, _to_come(alive, LAUNCHED.expanduser()))


def behind(address: str) -> Cluster:
    """Returns the nodes of the cluster whose dashboard answers at `address`.

    Raises RayUnavailable if it does not answer or has no node yet.
    """
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        found: list[Any] = list_nodes(address, filters=[("state", "=", "ALIVE")], detail=True)
    except RayStateApiException as error:
        raise RayUnavailable(f"{address} does not tell its nodes ({one_line(error)})") from error
    if not found:
        raise RayUnavailable(f"{address} has no node yet: its cluster is starting, try again")
    alive = [_node(node.resources_total, node.labels) for node in found]
    return Cluster(alive, None if _may_grow(alive) else ())


def require(who: str, wanted: Sequence[Need], cluster: Cluster) -> None:
    """Raises ConfigError if `wanted` can never be placed on `cluster`."""
    if cluster.to_come is None:
        return
    nodes, at_most = [*cluster.alive, *cluster.to_come], " at most" if cluster.to_come else ""
    for need in wanted:
        _require_node(need, _that_offer(need.node, nodes), at_most)
    for node in dict.fromkeys(["", *(need.node for need in wanted)]):
        there = _that_offer(node, nodes)
        machine = Machine(_sum("CPU", there), _sum("GPU", there))
        has = f"the nodes that offer {node} have" if node else "this cluster has"
        those = [need for need in wanted if not node or need.node == node]
        require_room(who, those, machine, has + at_most)


def _to_come(alive: Sequence[Node], launched: Path) -> list[Node] | None:
    """Returns the nodes that may still be started, or None if that cannot be known. They come from
    the launcher's file: Ray's own state has a field for them that is empty up to 2.60."""
    launcher = yaml.safe_load(launched.read_text()) if launched.is_file() else None
    if not isinstance(launcher, dict) or "available_node_types" not in launcher:
        return None if _may_grow(alive) else []
    groups, most = launcher["available_node_types"], launcher.get("max_workers", 0)
    head = launcher.get("head_node_type")  # max_workers does not count the head node
    if not all("CPU" in group.get("resources", {}) for group in groups.values()):
        return None  # the resources of such a node are known only after it has started
    there, found = Counter(node.group for node in alive), []
    for name, group in groups.items():
        free = min(group.get("max_workers", most), most) + (name == head) - there[name]
        found += [Node(group["resources"], name, free)] if free > 0 else []
    return found


def _require_node(need: Need, nodes: Sequence[Node], at_most: str) -> None:
    field = need.actor.split()[0]
    if not nodes:
        by_hand = f"start one with `ray start --resources='{{\"{need.node}\": 1}}'`"
        fix = "give it to a node type of its autoscaler" if at_most else by_hand
        raise ConfigError(
            f"{field}.node is {need.node!r}: no node of this cluster offers that resource; {fix}, "
            "or leave the field empty"
        )
    if any(_fits(need, node) for node in nodes):
        return
    several = f"{at_most or ' the'} {sum(node.copies for node in nodes)} nodes"
    largest = ", ".join(f"{_most(kind, nodes):g} {kind}s" for kind in ("CPU", "GPU"))
    raise ConfigError(
        f"each {need.actor} asks for {need.cpus:g} CPUs and {need.gpus:g} GPUs of one node, which "
        f"none of{several} has (at most {largest}): lower {field}.cpus or {field}.gpus"
    )


def _node(offers: Mapping[str, float] | None, labels: Mapping[str, str] | None) -> Node:
    return Node(offers or {}, (labels or {}).get(GROUP, ""))


def _may_grow(alive: Iterable[Node]) -> bool:
    return any(node.group for node in alive)


def _that_offer(resource: str, nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if not resource or node.offers.get(resource)]


def _fits(need: Need, node: Node) -> bool:
    asked = (("CPU", need.cpus), ("GPU", need.gpus))
    return all(node.offers.get(kind, 0.0) >= amount for kind, amount in asked)


def _sum(kind: str, nodes: Iterable[Node]) -> float:
    return sum(node.offers.get(kind, 0.0) * node.copies for node in nodes)


def _most(kind: str, nodes: Iterable[Node]) -> float:
    return max(node.offers.get(kind, 0.0) for node in nodes)
