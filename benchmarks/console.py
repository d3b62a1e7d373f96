"""What the fleet's page with a tile for each vehicle costs in the browser, and how many of their frames it shows.

    python -m benchmarks.console [--vehicles 50] [--fps 5] [--seconds 20]

Around a stub model; browser, service, broker and load share this machine's cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from benchmarks.frames import jpegs
from benchmarks.load import Load
from benchmarks.service import service
from benchmarks.stub import STUB
from tests.serve.browser import chromium, console


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
        page.see_all(arguments.vehicles)
        page.go()
        expect(page.page.locator(".tile")).to_have_count(arguments.vehicles)
        expect(page.page.locator(".veil")).to_have_count(0, timeout=60_000)
        cost = page.cost(arguments.seconds)
    print(f"{arguments.vehicles} tiles, {arguments.vehicles * arguments.fps:.0f} frames/s sent: {cost}")


if __name__ == "__main__":
    main()
