"""A real browser without a window, asked over its DevTools protocol."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOUND = next(filter(None, map(shutil.which, NAMES)), None)
QUIET = "gpu quic background-networking component-update sync".split()
LONG_S = 180.0  # a limit for a hang, not for a busy machine


class Tab:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, count(1)
        self.troubles: list[str] = []
        """Errors of scripts, and what the page may not load."""

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            told = json.loads((await self._socket.receive(LONG_S)).data)
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.troubles.append(json.dumps(told["params"])[:500])
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    async def open(self, address: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=address)

    async def value(self, script: str) -> Any:
        told = await self._evaluate(script)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str) -> None:
        """Returns once `script` is true; what it looks at need not be there before."""
        try:
            async with asyncio.timeout(LONG_S):
                while (await self._evaluate(script))["result"].get("value") is not True:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            text = await self.value("document.body.innerText")
            raise AssertionError(f"never true: {script}; the page says {text[:500]!r}") from None

    async def _evaluate(self, script: str) -> dict[str, Any]:
        return await self.send("Runtime.evaluate", expression=script, returnByValue=True)

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                            windowsVirtualKeyCode={"Escape": 27, "Enter": 13}.get(key, 0))  # fmt: skip


@asynccontextmanager
async def tab(address: str) -> AsyncIterator[Tab]:
    """`address` in a browser of its own."""
    assert FOUND is not None
    profile = tempfile.mkdtemp(prefix="ur-browser-")
    process = subprocess.Popen(
        [FOUND, "--headless", "--no-sandbox", "--no-first-run", "--window-size=1400,1000",
         *(f"--disable-{what}" for what in QUIET), f"--user-data-dir={profile}",
         "--remote-debugging-port=0", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            place = await _page(session, Path(profile) / "DevToolsActivePort")
            async with session.ws_connect(place, max_msg_size=0) as socket:
                found = Tab(socket)
                await found.open(address)
                yield found
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(profile, ignore_errors=True)


async def _page(session: aiohttp.ClientSession, told: Path) -> str:
    async with asyncio.timeout(LONG_S):
        while not (told.exists() and told.read_text().count("\n")):
            await asyncio.sleep(0.1)
        port = told.read_text().split("\n")[0]
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.1)
