from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.sizing import capacity, preflight
from cluster.sizing.capacity import Cluster, Node, require
from cluster.sizing.needs import Machine, needs
from policies.config import ConfigError, changed
from policies.registry import checkpoint_folder
from trainer.config import RunConfig

SMALL = Node({"CPU": 2.0})
RUN = RunConfig()


def check(run: RunConfig, *nodes: Node, to_come: Sequence[Node] | None = ()) -> None:
    require("run", needs(run), Cluster(nodes, to_come))


def launched(folder: Path, most: int, **groups: dict[str, Any]) -> Path:
    """What Ray's launcher leaves on the head."""
    file = folder / "ray_bootstrap_config.yaml"
    told = {"max_workers": most, "available_node_types": groups, "head_node_type": "head"}
    file.write_text(json.dumps(told))
    return file


def with_solver(**settings: object) -> RunConfig:
    return changed(RUN, solver=changed(RUN.solver, **settings))


def test_nodes_together_are_enough() -> None:
    check(RUN, SMALL, SMALL)
    with pytest.raises(ConfigError, match=r"and this cluster has 2: .* would wait for ever"):
        check(RUN, SMALL)


def test_an_actor_is_on_one_node() -> None:
    with pytest.raises(ConfigError, match=r"^each solver asks for 3 CPUs .* lower solver\.cpus or"):
        check(with_solver(cpus=3.0, replicas=1), *[SMALL] * 9)


def test_replicas_that_name_a_node_find_room_there_or_are_refused() -> None:
    run = with_solver(node="far", replicas=5)
    with pytest.raises(ConfigError, match=r"^solver\.node is 'far': no node of this cluster"):
        check(run, *[SMALL] * 9)
    far = Node({"CPU": 1.0, "far": 1.0})
    with pytest.raises(ConfigError, match=r"nodes that offer far have 1: solver 5 x 0\.4"):
        check(run, *[SMALL] * 9, far)
    check(run, *[SMALL] * 2, far, far)


def test_a_cluster_that_does_not_tell_how_far_it_grows_is_not_judged(tmp_path: Path) -> None:
    head = Node({"CPU": 1.0}, "head")
    kinds = {"head": {"resources": {"CPU": 1}, "max_workers": 0}}
    unsaid = launched(tmp_path, 9, **kinds, worker={"resources": {"far": 1}, "max_workers": 9})
    for told in (tmp_path / "nothing", unsaid):
        assert capacity._to_come([head], told) is None
    check(with_solver(node="far", cpus=64.0), head, to_come=None)


def test_what_an_autoscaler_may_start_counts_as_if_it_were_there(tmp_path: Path) -> None:
    far = {"CPU": 1.0, "far": 1.0}
    alive = [Node({"CPU": 2.0}, "head"), Node(far, "far")]
    told = launched(
        tmp_path, 3, head={"resources": {"CPU": 2}, "max_workers": 0},
        far={"resources": far, "max_workers": 9}, gone={"resources": far, "max_workers": 0},
    )  # fmt: skip
    to_come = capacity._to_come(alive, told)
    assert to_come == [Node(far, "far", 2)]
    more = launched(tmp_path, 3, head={"resources": {"CPU": 2}, "max_workers": 1})
    assert capacity._to_come(alive, more) == [Node({"CPU": 2}, "head", 1)]  # beside the head
    check(with_solver(node="far", cpus=1.0, replicas=3), *alive, to_come=to_come)
    for settings, said in (
        ({"replicas": 4}, r"asks for 5\.4 CPUs and this cluster has at most 5: proposer 1 x 0\.2, solver 4 x"),
        ({"cpus": 0.7, "replicas": 5}, r"3\.5 CPUs and the nodes that offer far have at most 3: solver 5 x"),
        ({"cpus": 2.0}, r"2 CPUs and 0 GPUs of one node, which none of at most 3 nodes has \(at most 1"),
        ({"node": "farther"}, r"'farther': no node .*; give it to a node type of its autoscaler, or"),
    ):  # fmt: skip
        run = with_solver(**{"node": "far", "cpus": 1.0, "replicas": 3} | settings)
        with pytest.raises(ConfigError, match=said):
            check(run, *alive, to_come=to_come)


def test_what_an_elastic_pool_may_grow_to_is_a_wish() -> None:
    check(with_solver(replicas=1, max_replicas=99), SMALL, SMALL)


@pytest.mark.parametrize("name", ["CPU", "a b", "1", "node:10.0.0.1", "solver.x"])
def test_a_node_is_named_by_a_custom_resource(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^solver\.node is .* the name of a custom resource"):
        with_solver(node=name)


def test_ray_on_this_machine_alone_has_no_such_node() -> None:
    base = checkpoint_folder(RUN.policy)
    with pytest.raises(ConfigError, match=r"^solver\.node is 'far': Ray on this machine alone"):
        preflight.check(with_solver(node="far"), Machine(64.0, 0.0), 10**15, base)
    preflight.check(with_solver(node="far"), Machine(math.inf, math.inf), 10**15, base)
