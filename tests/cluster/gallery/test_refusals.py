"""What the gallery does not do: for nobody else, nothing else, and nothing that is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from cluster import commands
from cluster.gallery.address import GalleryAddress, GalleryError
from cluster.gallery.views import Gallery
from policies.config import ConfigError, changed
from tests.cluster.gallery.gallery_samples import (
    HOSTILE,
    Client,
    add,
    hostile,
    plain_group,
    run_folder,
    serving,
)
from trainer.config import RunConfig


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder, _ = run_folder(tmp_path_factory.mktemp("runs"))
    add(folder, 1, 0, plain_group(1, 0))
    with serving(folder) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/groups?page=0x1", "page is '0x1'"),
        ("/api/groups?page=-1", "page is '-1'"),
        ("/api/groups?round=1e3", "round is '1e3'"),
        ("/api/groups?round=99999999999999999999", "whole number"),
        ("/api/groups?accepted=maybe", "must be one of yes, no"),
        ("/api/groups/1/%D9%A1", "index is"),
        ("/api/groups/1/4711", "there is no group 4711 of round 1"),
        ("/thumbnail/" + "0" * 32 + "/0/0.png", "there is no such drawing"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(client: Client, path: str, said: str) -> None:
    assert said in client.refused(path)


@pytest.mark.parametrize(
    "path",
    [
        "/../config.yaml", "/config.yaml", "//config.yaml", "/..%2fconfig.yaml", "/%2e%2e/config.yaml",
        "/gallery.js/../../views.py", "/views.py", "/replay/", "/picture/../../config.yaml/0/0.png",
        "/picture/..%2f..%2fconfig.yaml/0/0.png", "/thumbnail/%00/0/0.png", "/api/groups/../run/x",
        "/api/groups/1/..%2f..", "/picture/" + "a" * 5000 + "/0/0.png", "/.%00/", "/\\..\\config.yaml",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_gallery(client: Client, path: str) -> None:
    status, _, body = client.get(path)
    assert status in (400, 404), body
    assert b"rounds:" not in body and b"import" not in body and b"Traceback" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(client: Client, method: str) -> None:
    for path in ("/", "/api/run", "/api/groups/1/0"):
        assert client.get(path, method)[0] in (405, 501)


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""])
def test_a_foreign_name_is_refused(client: Client, name: str) -> None:
    assert client.get("/api/run", Host=name)[0] in (400, 403)


@pytest.mark.parametrize("name", ["localhost:1234", "127.0.0.1", "[::1]:8000", "192.0.2.7:80"])
def test_its_own_names_and_addresses_are_known(client: Client, name: str) -> None:
    assert client.get("/api/run", Host=name)[0] == 200


def test_texts_that_mean_harm_are_told_as_they_are(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, *(hostile(1, index, text) for index, text in enumerate(HOSTILE)))
    with serving(folder) as client:
        listed = {g["index"]: g for g in client.ask("/api/groups")["groups"]}
        for index, text in enumerate(HOSTILE):
            assert client.ask(f"/api/groups/1/{index}")["prompt"] == text
            assert listed[index]["prompt"].rstrip("…") == text[:1000]
        status, headers, _ = client.get("/api/groups")
        assert status == 200 and headers["Content-Type"].startswith("application/json")
        categories = client.look()["categories"]
        for plot in client.ask("/api/curves"):
            assert "<script" not in plot["chart"]
        assert sorted(name for name, _ in categories) == sorted(text[:300] for text in HOSTILE)


DASHBOARD = "http://head:8265"
TOKEN = "pä$$ word/with+everything="


def test_a_token_opens_once_and_then_a_cookie_does(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    with serving(folder, TOKEN) as client:
        for path in (
            "/",
            "/api/run",
            "/gallery.js",
            "/nowhere",
            "/?token=wrong",
            "/api/run?token=",
        ):
            status, headers, body = client.get(path)
            assert status == 401 and headers["WWW-Authenticate"] == "Bearer"
            assert body.count(b"\n") == 1 and b"UNICORN_GALLERY_TOKEN" in body
        assert client.get("/api/run", Authorization="Bearer nonsense")[0] == 401
        assert client.get("/api/run", Cookie="unicorn_gallery_1=nonsense")[0] == 401
        offered = TOKEN.encode().decode("latin-1")  # as a client sends UTF-8 in a header
        assert client.get("/api/run", Authorization=f"Bearer {offered}")[0] == 200
        status, headers, _ = client.get(f"//evil.example/?token={quote(TOKEN, safe='')}")
        assert (status, headers["Location"]) == (303, "/")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
        assert client.get("/api/run", Cookie=cookie.split(";")[0])[0] == 200
        assert client.get("/api/run", Cookie=cookie.split(";")[0], Host="gallery.example")[0] == 200
        assert TOKEN not in client.address.announcement and TOKEN not in repr(client.address)


def test_whoever_opens_it_to_others_is_told() -> None:
    assert "UNICORN_GALLERY_TOKEN would close it" in GalleryAddress("0.0.0.0", 80).announcement
    assert GalleryAddress("127.0.0.1", 80).announcement == "gallery http://127.0.0.1:80/"
    assert GalleryAddress("::1", 80).link == "http://[::1]:80/"


def test_the_link_of_a_job_is_known_before_or_there_is_none() -> None:
    config = RunConfig(folder="/shared/my runs", name="tiny")
    for host, at in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "head"), ("::", "head")):
        link = commands._link(GalleryAddress(host, 80, "digest"), DASHBOARD, config)
        assert link == f"http://{at}:80/?run=/shared/my%20runs/tiny"
    for address in (GalleryAddress("0.0.0.0", 0), None):
        assert commands._link(address, DASHBOARD, config) == ""
    with pytest.raises(GalleryError, match="port is 65536: it must be from 0"):
        GalleryAddress.of("127.0.0.1", 65536, "")


@pytest.mark.parametrize("token", ["", TOKEN])
def test_the_link_of_another_run_on_the_same_port_is_refused(tmp_path: Path, token: str) -> None:
    folder, config = run_folder(tmp_path)
    with serving(folder, token) as client:
        cookie = {"Cookie": client.get(f"/?token={quote(token, safe='')}")[1].get("Set-Cookie", "")}
        for own in (config, changed(config, folder=f"{tmp_path}/elsewhere")):
            link = commands._link(client.address, DASHBOARD, own)
            path = link.removeprefix(f"http://127.0.0.1:{client.address.port}")
            status, _, body = client.get(path, **cookie)
            assert status == (200 if own == config else 404)
            if token:
                assert client.get(path)[0] == 401
                opened = client.get(f"{path}&token={quote(token, safe='')}")
                assert (opened[0], opened[1]["Location"]) == (303, path)
        assert f"the gallery of the run {folder}, not of {tmp_path}/elsewhere/" in body.decode()


def test_a_damaged_file_is_named_and_nothing_of_it_shown(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    good, bad = add(folder, 1, 0, plain_group(1, 0)), add(folder, 1, 1, plain_group(1, 1))
    (good.parent / bad.name.replace("slice-00001", "slice-00002")).write_bytes(b"PAR1" + bytes(50))
    data = bytearray(bad.read_bytes())
    at = data.index(b"IDAT")
    data[at + 6] ^= 1
    bad.write_bytes(data)
    with serving(folder) as client:
        run = client.look()
        assert (
            run["groups"] == 2 and len(run["problems"]) == 1 and "slice-00002" in run["problems"][0]
        )
        assert "checksum differs" in client.refused("/api/groups/1/1")
        run = client.look()
        assert run["groups"] == 1 and any("slice-00001" in each for each in run["problems"])
        assert client.ask("/api/groups/1/0")["prompt"] == "plain paper"


def test_a_score_that_is_none_is_not_shown(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    group = plain_group(1, 0)
    first, *others = group.rollouts
    odd = replace(first, judgement=replace(first.judgement, score=float("nan")))
    add(folder, 1, 0, replace(group, rollouts=(odd, *others)))
    with serving(folder) as client:
        assert "a score that is not from 0 to 10" in client.look()["problems"][0]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run folder"):
        Gallery(tmp_path)
