"""The gallery's page in a real browser: it follows the run, and shows every text as a text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from actors.replay.buffer import ReplayBuffer
from tests.cluster.gallery import browser
from tests.cluster.gallery.browser import Tab
from tests.cluster.gallery.gallery_samples import (
    HOSTILE,
    add,
    add_many,
    hostile,
    plain_group,
    run_folder,
    serving,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        browser.FOUND is None, reason=f"none of {', '.join(browser.NAMES)} is on PATH"
    ),
]

CARDS = "document.querySelectorAll('.shot').length"
PICTURES = """[...document.querySelectorAll('.shot .pic')].filter(p => p.complete && p.naturalWidth).length"""


def watch(
    folder: Path, script: Callable[[Tab], Awaitable[None]], after: str = "", token: str = ""
) -> None:
    async def scene(address: str) -> None:
        async with browser.tab(address) as tab:
            await script(tab)
            assert tab.troubles == []

    with serving(folder, token) as client:
        asyncio.run(scene(client.address.link + after))


def test_new_groups_appear_while_the_page_stays_open(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)

    async def script(tab: Tab) -> None:
        await tab.until("document.body.innerText.includes('Nothing has been drawn yet')")
        await tab.value("window.untouched = true")
        add(folder, 1, 0, plain_group(1, 0, "the first"), plain_group(1, 1, "the second"))
        await tab.until(f"{CARDS} === 2")
        await tab.until(f"{PICTURES} === 16")
        kept = "document.querySelector('.shot[data-key=\"1/0\"]')"
        await tab.value(f"{kept}.mine = true")
        add(folder, 2, 0, plain_group(2, 0, "the third", reason="best score 4 is under 7"))
        await tab.until(f"{CARDS} === 3")
        first = "document.querySelector('.shot')"
        assert await tab.value(f"{first}.querySelector('.prompt').innerText") == "the third"
        assert "best score 4 is under 7" in await tab.value(f"{first}.innerText")
        assert await tab.value(f"{kept}.mine && window.untouched")
        assert await tab.value(f"{kept}.querySelector('.winner .score').innerText") == "9"
        assert await tab.value(f"{kept}.querySelectorAll('.drawing.loser').length") == 1
        await tab.value("location.hash = '#curves'")
        await tab.until("document.querySelectorAll('#plots svg.chart polyline').length === 2")
        ReplayBuffer(folder / "replay").close_round(1, 1)

    watch(folder, script)


def test_filters_pages_and_lineage_follow_the_address(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, *(plain_group(1, index, f"prompt number {index}") for index in range(60)))
    add(folder, 2, 0, plain_group(2, 0, "alone"))

    async def script(tab: Tab) -> None:
        await tab.until(f"{CARDS} === 24")
        await tab.value("[...document.querySelectorAll('#pager button')].at(-1).click()")
        await tab.until("document.querySelector('#count').innerText.includes('48 of 61 ')")
        await tab.value("document.querySelector('[data-choice=\"category=counting\"]').click()")
        await tab.until("document.querySelector('#count').innerText.includes('24 of 30 ')")
        await tab.value("document.querySelector('[data-choice=\"round=2\"]').click()")
        await tab.until("document.querySelector('.empty')?.innerText === 'No prompt is like that.'")
        await tab.value("location.hash = '#round=1'")
        await tab.until(f"{CARDS} === 24")
        await tab.value("document.querySelector('.shot .prompt a').focus()")
        await tab.press("Enter")
        await tab.value("document.activeElement.click()")
        await tab.until(
            "document.querySelector('dialog[open] .asked')?.innerText === 'prompt number 59'"
        )
        text = await tab.value("document.querySelector('dialog').innerText")
        assert f"seed {2**62 + 59}" in text and f"seed {10**17 + 3}" in text and "v0" in text
        assert await tab.value("document.querySelectorAll('dialog .lesson').length") == 4
        await tab.value("document.querySelector('#older').click()")
        await tab.until(
            "document.querySelector('dialog[open] .asked').innerText === 'prompt number 58'"
        )
        await tab.press("Escape")
        await tab.until(
            "!document.querySelector('dialog').open && !location.hash.includes('group')"
        )

    watch(folder, script)


def test_no_text_becomes_markup(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, *(hostile(1, index, text) for index, text in enumerate(HOSTILE)))

    async def script(tab: Tab) -> None:
        await tab.until(f"{CARDS} === {len(HOSTILE)}")
        tags = "[...document.querySelectorAll('main *, dialog *')].map(e => e.localName)"
        handlers = """[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())
            .filter(name => name.startsWith('on')).length"""
        for index, text in enumerate(HOSTILE):
            await tab.value(f"location.hash = '#group=1/{index}'")
            shown = f"document.querySelector('dialog[open] .where')?.innerText.endsWith(' {index}')"
            await tab.until(shown)
            assert await tab.value("document.querySelector('.asked').textContent") == text
            assert not {"script", "textarea"} & set(await tab.value(tags))
            assert await tab.value(handlers) == 0
        await tab.value("location.hash = ''")
        assert await tab.value("document.title") == "aphasia-study - unicorn-ray"
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert await tab.value(wide)

    watch(folder, script)


def test_with_twenty_thousand_groups_a_page_is_a_page(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add_many(folder, rounds=10, slices=20, size=100)

    async def script(tab: Tab) -> None:
        await tab.until("document.querySelector('#count').innerText.includes('24 of 20,000 ')")
        assert await tab.value("document.querySelectorAll('*').length") < 3000
        add(folder, 11, 0, plain_group(11, 0, "the newest of all"))
        await tab.until("document.querySelector('.shot .prompt').innerText === 'the newest of all'")

    watch(folder, script)


def test_the_token_opens_the_page(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, plain_group(1, 0))

    async def script(tab: Tab) -> None:
        await tab.until(f"{PICTURES} === 8")
        assert await tab.value("location.search") == ""

    watch(folder, script, "?token=open-sesame", "open-sesame")
