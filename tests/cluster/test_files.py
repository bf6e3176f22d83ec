"""The files that make a cluster are what Ray and KubeRay read, and what recipes ask of one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from actors.storage.paths import run_folder
from cluster.recipes import recipe

ROOT = Path(__file__).parents[2]
FILES = ROOT / "cluster/files"
CRDS = os.environ.get("KUBERAY_CRDS", "")
ROLES = ("proposer", "solver", "judge", "trainer")


def read(name: str) -> Any:
    return yaml.safe_load((FILES / name).read_text())


def problems(document: Any, schema: Any) -> list[str]:
    found = jsonschema.validators.validator_for(schema)(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]


def job_recipe() -> Any:
    """What the RayJob runs."""
    job = read("kuberay-rayjob.yaml")["spec"]
    *line, option, address = job["entrypoint"].split()
    program, command, path, *settings = line
    assert (program, command, option) == ("unicorn-ray", "run", "--gallery")
    config = recipe.load(ROOT / Path(path).relative_to("/opt/unicorn-ray"), settings)
    assert job["metadata"]["gallery"] == f"http://{address}/?run={run_folder(config)}"
    return config


def strict(schema: Any) -> Any:
    """As the API server reads it: a field that is not in the schema is an error."""
    if isinstance(schema, dict):
        if schema.get("properties"):
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            strict(part)
    return schema


def test_the_launcher_file_is_what_ray_reads() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    made = read("ray-cluster.yaml")
    assert problems(made, schema) == []
    kinds = made["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert kinds["solver"]["min_workers"] == 0 < kinds["solver"]["max_workers"]
    assert sum(kind.get("max_workers", 0) for kind in kinds.values()) == made["max_workers"]


@pytest.mark.skipif(not CRDS, reason="KUBERAY_CRDS names no clone's ray-operator/config/crd/bases")
@pytest.mark.parametrize("kind", ["raycluster", "rayjob"])
def test_the_manifests_are_what_kuberay_reads(kind: str) -> None:
    crd = yaml.safe_load((Path(CRDS) / f"ray.io_{kind}s.yaml").read_text())
    version = next(v for v in crd["spec"]["versions"] if v["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    assert problems(read(f"kuberay-{kind}.yaml"), strict(schema)) == []


def test_every_role_of_the_job_has_its_nodes_in_both_clusters() -> None:
    config = job_recipe()
    asked = {getattr(config, role).node for role in ROLES}
    launched = read("ray-cluster.yaml")["available_node_types"].values()
    groups = read("kuberay-raycluster.yaml")["spec"]["workerGroupSpecs"]
    offered = [json.loads(json.loads(group["rayStartParams"]["resources"])) for group in groups]
    assert asked == {"solver", "trainer"} == {name for offer in offered for name in offer}
    assert asked <= {name for kind in launched for name in kind["resources"]}
    assert config.folder == "/shared/runs"


def test_the_job_runs_in_the_cluster_beside_it_whose_head_has_no_room_for_roles() -> None:
    cluster, job = read("kuberay-raycluster.yaml"), read("kuberay-rayjob.yaml")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    head = cluster["spec"]["headGroupSpec"]["rayStartParams"]
    assert (head["num-cpus"], head["num-gpus"]) == ("0", "0")
    assert cluster["spec"]["rayVersion"] == ray.__version__
    assert set(yaml.safe_load(job["spec"]["runtimeEnvYAML"])) == {"env_vars"}
