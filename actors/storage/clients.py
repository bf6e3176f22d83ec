"""The clients of buckets, as the environment says.

Invariant: an answer is waited for well below `actors.retry.ANSWER_S`, for which others wait for who
asks a bucket. No message holds a key.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from obstore.store import GCSStore, S3Store

from actors.storage.paths import StoragePath
from policies.config import ConfigError
from policies.errors import one_line

CONNECT, SILENT, WHOLE = timedelta(seconds=5), timedelta(seconds=20), timedelta(hours=1)
TRIES = 2
LIMITS: Any = {
    "client_options": {
        "connect_timeout": CONNECT, "read_timeout": SILENT, "timeout": WHOLE, "allow_http": True,
    },
    "retry_config": {"max_retries": TRIES - 1, "retry_timeout": TRIES * SILENT},
}  # fmt: skip
"""Silence is what ends a request: how long a large file may take says nothing."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
CREDENTIALS = "AWS_SHARED_CREDENTIALS_FILE"
_ANSWER = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>")


def client(path: StoragePath) -> tuple[Any, str]:
    """Returns what speaks with the bucket of `path`, and the key of the file in it."""
    scheme, bucket, *key = path.parts
    return _of(scheme, bucket), "/".join(key)


@cache
def _of(scheme: str, bucket: str) -> Any:
    return GCSStore(bucket, **LIMITS) if scheme == "gs:" else _amazon(bucket)


def _amazon(bucket: str) -> S3Store:
    """Returns that of Amazon's, or of any other server that speaks S3, where the environment names
    its endpoint."""
    endpoint, given = _first(ENDPOINTS), LIMITS | _profile()
    if endpoint:
        if "://" not in endpoint:
            endpoint = f"https://{endpoint}"
        given["endpoint"] = endpoint.rstrip("/")
    return S3Store(bucket, region=_first(REGIONS) or _region(bucket, endpoint), **given)


def _region(bucket: str, endpoint: str) -> str:
    if endpoint:
        return "us-east-1"
    from pyarrow import fs  # obstore does not ask a bucket for its region

    try:
        return str(fs.resolve_s3_region(bucket))
    except OSError as error:
        raise ConfigError(
            f"the region of the bucket {bucket} cannot be found out ({one_line(error)}): see that it "
            "is there, or set AWS_REGION"
        ) from error


def _profile() -> dict[str, Any]:
    """Returns where the keys come from if they are those of a profile, which obstore does not read
    itself."""
    file = Path(os.environ.get(CREDENTIALS, "~/.aws/credentials")).expanduser()
    named = os.environ.get("AWS_PROFILE")
    if os.environ.get("AWS_ACCESS_KEY_ID") or not (named or file.exists()):
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise ConfigError(
            f"the keys of the bucket are in a profile ({named or file}), which needs boto3: "
            "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    return {"credential_provider": Boto3CredentialProvider()}


def why(error: Exception) -> str:
    """Returns what the server or the network said, in one line."""
    text = str(error)
    answer = _ANSWER.search(text)
    said = ": ".join(answer.groups()) if answer else text.partition("Debug source")[0]
    return one_line(said)


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
