from __future__ import annotations

import dataclasses
import math

import pytest

from cluster import preflight
from cluster.capacity import Node, require
from cluster.needs import Machine, needs
from policies.config import ConfigError
from policies.registry import checkpoint_folder
from trainer.config import RunConfig

SMALL = Node({"CPU": 2.0}, made=False)
RUN = RunConfig()


def check(run: RunConfig, *nodes: Node) -> None:
    require("run", needs(run), nodes)


def with_solver(**settings: object) -> RunConfig:
    return dataclasses.replace(RUN, solver=dataclasses.replace(RUN.solver, **settings))


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
    far = Node({"CPU": 1.0, "far": 1.0}, made=False)
    with pytest.raises(ConfigError, match=r"nodes that offer far have 1: solver 5 x 0\.4"):
        check(run, *[SMALL] * 9, far)
    check(run, *[SMALL] * 2, far, far)


def test_a_cluster_that_may_grow_is_not_judged() -> None:
    check(with_solver(node="far", cpus=64.0), Node({"CPU": 1.0}, made=True))


@pytest.mark.parametrize("name", ["CPU", "a b", "1", "node:10.0.0.1", "solver.x"])
def test_a_node_is_named_by_a_custom_resource(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^solver\.node is .* the name of a custom resource"):
        with_solver(node=name)


def test_ray_on_this_machine_alone_has_no_such_node() -> None:
    base = checkpoint_folder(RUN.policy)
    with pytest.raises(ConfigError, match=r"^solver\.node is 'far': Ray on this machine alone"):
        preflight.check(with_solver(node="far"), Machine(64.0, 0.0), 10**15, base)
    preflight.check(with_solver(node="far"), Machine(math.inf, math.inf), 10**15, base)
