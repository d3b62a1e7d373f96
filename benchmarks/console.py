"""What the fleet's page with a tile for each vehicle costs in the browser, and how many of their frames it shows.

    python -m benchmarks.console [--vehicles 50] [--fps 5] [--seconds 20]

Around a stub model; browser, service, broker and load share this machine's cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import expect

from benchmarks.frames import jpegs
from benchmarks.load import Load
from benchmarks.service import service
from benchmarks.stub import STUB
from tests.serve.browser import chromium, console

PICTURE_PX = (1600, 90)
"""Of the window: its width, and its height for each tile, so that all of them can be seen."""
COUNT_SHOWN = (
    "window.shown = 0; const draw = CanvasRenderingContext2D.prototype.drawImage;"
    "CanvasRenderingContext2D.prototype.drawImage = "
    "function (...what) { window.shown += 1; return draw.apply(this, what); };"
)
"""A frame is shown by being drawn."""


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vehicles", type=int, default=50)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        service(import_path=STUB) as measured,
        chromium() as browser,
        console(browser, measured.service, Path(folder)) as page,
        Load(measured.broker_port, lambda: measured.service.json("/v1/streams"), arguments.vehicles, jpegs()) as load,
    ):
        load.steady(arguments.fps)
        measured.settle(arguments.vehicles)
        page.page.set_viewport_size({"width": PICTURE_PX[0], "height": PICTURE_PX[1] * arguments.vehicles})
        page.page.add_init_script(COUNT_SHOWN)
        page.go()
        expect(page.page.locator(".tile")).to_have_count(arguments.vehicles)
        expect(page.page.locator(".veil")).to_have_count(0, timeout=60_000)
        shown, cpu_s, began_s = page.page.evaluate("window.shown"), _cpu_s(), time.monotonic()
        time.sleep(arguments.seconds)
        seconds = time.monotonic() - began_s
        fps = (page.page.evaluate("window.shown") - shown) / seconds
        cores = (_cpu_s() - cpu_s) / seconds
        memory_mb = sum(one.memory_full_info().uss for one in _browsers()) / 1e6
    print(
        f"{arguments.vehicles} tiles, {arguments.vehicles * arguments.fps:.0f} frames/s sent: {fps:.0f} shown, "
        f"{100 * cores:.0f} % of a core and {memory_mb:.0f} MB in the browser"
    )


def _browsers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]


def _cpu_s() -> float:
    return float(sum(one.cpu_times().user + one.cpu_times().system for one in _browsers()))


if __name__ == "__main__":
    main()
