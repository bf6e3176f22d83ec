"""Runs as jobs of a Ray cluster: submit, follow, stop.

Invariant: a job gets this program and one resolved recipe, and nothing else from the machine that
submits it: no environment, no secret. It goes on when whoever follows it leaves, and submitting the
same recipe again continues the run where it ended.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.storage.paths import parse_path
from cluster.recipes import recipe
from cluster.session.ray_session import ADDRESS, ANSWER_S
from policies.config import ConfigError
from policies.errors import UserError, one_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from trainer.config import RunConfig

API_ADDRESS = "RAY_API_SERVER_ADDRESS"
INSIDE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this variable in the processes of a job."""
PACKAGES = ("policies", "actors", "evaluation", "trainer", "cluster")
RECIPE = "recipe.yaml"
STOP_S = 120
"""Seconds that a job may take for its last checkpoint when it is stopped; Ray's default is 3."""
STOPPED, FAILED = 130, 1


class JobRefused(UserError):
    """The cluster's job server cannot do what was asked; the message says why."""


def require_shared(config: RunConfig) -> None:
    """Raises ConfigError if the run's folder would lie inside the job's temporary directory."""
    folder = parse_path(config.folder)
    if not folder.is_absolute() or ".." in folder.parts:
        raise ConfigError(
            f"folder is {config.folder!r}: a job works in a directory that goes with it; give an "
            "absolute path without .. on a disk that all nodes mount, such as folder=/shared/runs, "
            "or the address of a bucket, such as folder=s3://BUCKET/runs"
        )


def require_reachable(config: RunConfig) -> None:
    """Raises ConfigError if the job would need files that only this machine has."""
    require_shared(config)
    hygiene = config.judge.hygiene
    for field, path in (
        ("policy.path", config.policy.path),
        ("judge.hygiene.clip", hygiene.clip),
        ("judge.hygiene.aesthetic", hygiene.aesthetic),
    ):
        if path not in ("base", "") and not Path(path).is_absolute():
            raise ConfigError(
                f"{field} is {path!r}: a job finds no files of this machine; give the absolute "
                "path of a checkpoint on a disk that all nodes mount"
            )


def address(given: str) -> str:
    """Returns the job server's address: `given`, or else what the environment names. Raises
    JobRefused if there is none."""
    candidates = (given, os.environ.get(API_ADDRESS, ""), os.environ.get(ADDRESS, ""))
    for found in candidates:
        if found.startswith(("http://", "https://")):
            return found.rstrip("/")
    raise JobRefused(
        f"no job server is named (--address is {given!r}): give --address=http://HEAD:8265, the "
        f"cluster's dashboard, or set {API_ADDRESS}"
    )


def connect(address: str) -> JobSubmissionClient:
    """Returns a client. Raises JobRefused if no job server answers, or if it refuses this user."""
    _require_answer(address)
    os.environ[API_ADDRESS] = address  # Ray prefers these variables to the address that it is given

    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise JobRefused(
            f"the cluster at {address} wants its token: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH (or put it into the file .ray/auth_token of your "
            "home folder)"
        ) from error
    except (RuntimeError, OSError, LookupError, ValueError) as error:
        raise JobRefused(
            f"what answers at {address} takes no Ray jobs ({one_line(error)})"
        ) from error


def submit(client: JobSubmissionClient, config: RunConfig, gallery: str, link: str) -> str:
    """Submits the run and returns the job's name. The run gets `gallery` as --gallery; the job's
    metadata gets `link` unless that is empty. Raises JobRefused."""
    metadata = {"run": config.name, "folder": config.folder, "gallery": link}
    with tempfile.TemporaryDirectory() as made:
        root, program = Path(__file__).parents[2], Path(made)
        for package in PACKAGES:
            shutil.copytree(
                root / package, program / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        (program / RECIPE).write_text(recipe.dump(config))
        try:
            return client.submit_job(
                entrypoint=f"python -m cluster run {RECIPE} --gallery {shlex.quote(gallery)}",
                runtime_env={
                    "working_dir": made,
                    "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)},
                },
                metadata={name: value for name, value in metadata.items() if value},
            )
        except (RuntimeError, OSError) as error:
            raise JobRefused(f"the cluster did not take the job ({one_line(error)})") from error


def follow(client: JobSubmissionClient, job: str) -> int:
    """Prints the job's log until it ends; returns its exit code. Raises JobRefused."""
    try:
        asyncio.run(_print_log(client, job))
    except (RuntimeError, OSError) as error:
        raise JobRefused(
            f"the log of {job} broke off ({one_line(error)}); the job may go on: `ray job logs "
            f"--follow {job}` follows it again"
        ) from error
    info = _ended(client, job, STOP_S)
    if info.status != "FAILED":
        return STOPPED if info.status == "STOPPED" else 0
    if info.driver_exit_code is None:
        raise JobRefused(f"{job} failed before its program ran ({one_line(info.message)})")
    return int(info.driver_exit_code) or FAILED


def stop(client: JobSubmissionClient, job: str) -> None:
    """Stops the job and returns when it has ended. Raises JobRefused if no such job is running."""
    try:
        runs = client.stop_job(job)
    except (RuntimeError, OSError) as error:
        raise JobRefused(f"{job} cannot be stopped ({one_line(error)})") from error
    if not runs:
        raise JobRefused(f"{job} does not run: it is {client.get_job_status(job)} already")
    _ended(client, job, STOP_S + ANSWER_S)


async def _print_log(client: JobSubmissionClient, job: str) -> None:
    async for text in client.tail_job_logs(job):
        print(text, end="", flush=True)


def _ended(client: JobSubmissionClient, job: str, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (info := client.get_job_info(job)).status.is_terminal():
        if time.monotonic() > end:
            raise JobRefused(f"waited {seconds:g} s for {job} to end, and it is {info.status}")
        time.sleep(0.5)
    return info


def _require_answer(address: str) -> None:
    """Raises JobRefused if nothing answers within ANSWER_S; Ray's client has no deadline."""
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=ANSWER_S).close()
    except urllib.error.HTTPError:
        return  # such as a server that wants a token
    except (OSError, ValueError) as error:
        raise JobRefused(
            f"no job server answers at {address} ({one_line(error)}); start that cluster, or give "
            "the --address=http://HEAD:8265 of its dashboard"
        ) from error
