"""Who is let in, before anything is read."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from cluster.access import digest_of
from cluster.serving.config import ServeConfig
from cluster.serving.reading import Reader
from cluster.serving.refusals import Refusal


def let_in(token: str = "", host: str = "localhost:8000", authorization: str = "") -> None:
    headers = {"Host": host} | ({"Authorization": authorization} if authorization else {})
    Reader(ServeConfig(), "127.0.0.1", digest_of(token)).let_in(
        make_mocked_request("POST", "/v1/models", headers)
    )


def refusal(**asked: str) -> Refusal:
    with pytest.raises(Refusal) as found:
        let_in(**asked)
    return found.value


def test_a_token_is_asked_for() -> None:
    let_in(token="secret", authorization="Bearer secret")
    let_in(token="secret", authorization="Bearer secret", host="my.cluster:80")
    for header in ("", "Bearer other", "Bearer ", "secret2"):
        found = refusal(token="secret", authorization=header)
        assert (found.status, found.code) == (401, "invalid_api_key")
        assert "secret" not in str(found)


def test_without_a_token_a_page_of_another_site_cannot_ask() -> None:
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "10.1.2.3"):
        let_in(host=host)
    for host in ("evil.example.org", "localhost.evil.org:8000", ""):
        assert refusal(host=host).status == 403


def test_a_stranger_s_body_is_not_read() -> None:
    request = make_mocked_request("POST", "/", {"Host": "localhost"})  # which has none to read
    reader = Reader(ServeConfig(), "127.0.0.1", digest_of("secret"))
    for read in (reader.json, reader.form):
        with pytest.raises(Refusal, match="token"):
            asyncio.run(read(request))
