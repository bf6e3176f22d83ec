"""What all tests share.

Invariant: one local Ray for the whole session, stopped by `ray.shutdown()` alone (`ray stop`
would end every Ray on the machine), and every test that needs it asks for `ray_cluster`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from actors.storage.paths import BucketPath
from tests.bucket import ADDRESS, Line, served

# Its assertions are to explain themselves as those of a test module do.
pytest.register_assert_rewrite("tests.policies.conformance")

ROOT = Path(__file__).resolve().parent.parent

# A shell that starts these tests in the background has them ignore Ctrl-C, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes single examples slow without making them wrong.
settings.register_profile("unicorn", deadline=None)
settings.load_profile("unicorn")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """A Ray of four CPUs for the session; gives its address."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Workers import what this process imports, test modules included.
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, sys.path)]))
    import ray

    folder = tempfile.mkdtemp(prefix="ur-")  # short: Ray's socket paths must fit 107 bytes
    try:
        # Workers are nice 15 by default: on a busy machine they take minutes to start, and those that are
        # idle for a second are ended.
        ray.init(
            address="local", num_cpus=4, include_dashboard=False, object_store_memory=300 * 10**6,
            namespace="tests", log_to_driver=False, _temp_dir=folder,
            _system_config={
                "worker_niceness": 0, "idle_worker_killing_time_threshold_ms": 300_000,
            },
        )  # fmt: skip
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB, or of what a test asks for with `indirect`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={getattr(request, 'param', '256k')}",
        "tmpfs",
        str(folder),
    ]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting a small tmpfs is not permitted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def s3() -> Iterator[Line]:
    """The line to a bucket; its name is in tests.bucket."""
    before = dict(os.environ)
    with served() as line:
        yield line
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def place(s3: Line, request: pytest.FixtureRequest) -> BucketPath:
    """A folder of a bucket that no other test uses."""
    s3.mend()
    return BucketPath(f"{ADDRESS}/{request.node.name}")
