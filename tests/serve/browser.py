"""A real Chromium on the console."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests import servers
from tests.serve.service import Service

WIDE, PHONE = (1280, 900), (390, 844)
WAIT_MS = 20_000
SERIOUS = {"serious", "critical"}
TILES_PX = (1600, 90)
"""Of a window in which all of them can be seen: its width, and its height for each."""
COUNT_SHOWN = (
    "window.shown = 0; const draw = CanvasRenderingContext2D.prototype.drawImage;"
    "CanvasRenderingContext2D.prototype.drawImage = "
    "function (...what) { window.shown += 1; return draw.apply(this, what); };"
)
SCREENSHOTS = "SCREENSHOTS"
"""Environment variable: a folder that keeps them."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's; a missing one skips, or fails where CI=true."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        told = "chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    with tempfile.TemporaryDirectory(prefix="dms-chromium-", ignore_cleanup_errors=True) as profile:
        port = servers.free_port()
        words = ["--headless=new", "--no-sandbox", "--no-first-run", f"--remote-debugging-port={port}", "about:blank"]
        # Playwright would start it in a session of its own, and Linux share the cores between sessions (docs/adr/0025).
        args = [path, *words, f"--user-data-dir={profile}"]
        process = servers.Server(args=args, port=port, log=Path(profile, "log"))
        try:
            process.start()
            with sync_playwright() as playwright:
                browser = playwright.chromium.connect_over_cdp(f"http://{servers.HOST}:{port}")
                yield browser
                browser.close()
        finally:
            process.stop()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a page takes, and does, meanwhile.

    Args:
        shown: Frames drawn, a second.
        cores: Of the browser's processes, all of them.
        memory_mb: Theirs alone.
    """

    shown: float
    cores: float
    memory_mb: float

    def __str__(self) -> str:
        return f"{self.shown:.0f} shown, {100 * self.cores:.0f} % of a core and {self.memory_mb:.0f} MB in the browser"


class Console:
    """A page of the console, and everything that it complained of.

    Args:
        page: The browser's.
        service: Whose console it is.
        folder: For screenshots.
    """

    def __init__(self, page: Page, service: Service, folder: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._url = f"http://127.0.0.1:{service.environ['HTTP_PORT']}/"
        self._folder = folder
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def forgive(self, status: int) -> None:
        """Chromium complains of every answer that is no 200, also of those that the page asked for to find out."""
        self.complaints = [said for said in self.complaints if f"status of {status}" not in said]

    def go(self, path: str = "/") -> None:
        """To a page by its address."""
        self.page.goto(f"{self._url}#{path}")

    def pixels(self, canvas: str) -> Any:
        """A number that changes with the picture, and how many pixels are drawn."""
        return self.page.locator(canvas).first.evaluate(
            """canvas => {
                const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                let sum = 0, drawn = 0;
                for (let i = 0; i < data.length; i += 4) {
                    sum = (sum * 31 + data[i] + data[i + 1] * 3 + data[i + 2] * 7) % 1000003;
                    drawn += data[i + 3] > 0;
                }
                return [sum, drawn];
            }"""
        )

    def pictures(self) -> list[int]:
        """A number for each canvas that changes with its picture; 0 for an empty one."""
        found: list[int] = self.page.evaluate(
            """[...document.querySelectorAll("canvas")].map(canvas => {
                const pen = new OffscreenCanvas(64, 48).getContext("2d", { willReadFrequently: true });
                pen.drawImage(canvas, 0, 0, 64, 48);
                return pen.getImageData(0, 0, 64, 48).data.reduce((sum, value) => (sum * 31 + value) % 1000003, 0);
            })"""
        )
        return found

    def see_all(self, tiles: int) -> None:
        """Make the window so big that all tiles are in sight, and count what is drawn from the next page on."""
        self.page.set_viewport_size({"width": TILES_PX[0], "height": TILES_PX[1] * tiles})
        self.page.add_init_script(COUNT_SHOWN)

    def cost(self, seconds: float) -> Cost:
        """Of so many seconds; after `see_all`."""
        shown, cpu_s, began_s = self.page.evaluate("shown"), _cpu_s(), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - began_s
        return Cost(
            shown=(self.page.evaluate("shown") - shown) / took_s,
            cores=(_cpu_s() - cpu_s) / took_s,
            memory_mb=sum(one.memory_full_info().uss for one in _browsers()) / 1e6,
        )

    def faults(self) -> list[str]:
        """Serious findings of axe-core."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']][:3]}"
            for one in found
            if one["impact"] in SERIOUS
        ]

    def is_wider_than_the_screen(self) -> bool:
        """Whether a person has to move it sideways."""
        wide: bool = self.page.evaluate("document.scrollingElement.scrollWidth > innerWidth")
        return wide

    def look(self, name: str) -> None:
        """In both colours and at a phone's width: nothing that hinders anybody, and a screenshot of each."""
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for scheme in schemes:
            self.page.emulate_media(color_scheme=scheme)
            self.page.evaluate("scrollTo(0, 0)")
            assert self.faults() == [], f"{name}, {scheme}"
            self.page.screenshot(path=self._folder / f"{name}-{scheme}.png")
        self.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert not self.is_wider_than_the_screen(), name
        assert self.faults() == [], f"{name}, phone"
        self.page.screenshot(path=self._folder / f"{name}-phone.png")
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")


@contextlib.contextmanager
def console(browser: Browser, service: Service, folder: Path) -> Iterator[Console]:
    """A new page, as of a person who was never there before."""
    kept = os.environ.get(SCREENSHOTS)
    context = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]}, timezone_id="Europe/Berlin")
    context.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    try:
        yield Console(context.new_page(), service, Path(kept) if kept else folder)
    finally:
        context.close()


def _browsers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]


def _cpu_s() -> float:
    return float(sum(one.cpu_times().user + one.cpu_times().system for one in _browsers()))
