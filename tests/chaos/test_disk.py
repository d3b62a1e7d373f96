"""The disk that the journal is on fills up."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import CONFIG, Teller
from tests.chaos.marks import Mark
from tests.chaos.world import World
from tests.serve.service import Service, running
from tests.waiting import eventually

DISK_KB = 6 * 1024
BALLAST = "ballast"


def test_the_footage_fills_the_disk(own_world: World, tmp_path: Path, teller: Teller) -> None:
    with (
        _small_disk(tmp_path / "data" / "journal"),
        running(tmp_path, config=CONFIG, **own_world.settings()) as own,
        teller(own_world, own, "disk full of footage", mark=lambda n: Mark(n, see=("bottle",))) as story,
    ):
        story.open()
        with story.fleet.driving():
            with story.fault():
                assert eventually(lambda: _journal(own).startswith("disk full"), 120)
                time.sleep(5)
            story.flows_again()
        assert own.get("/healthz")[0] == 200, "frames are taken all the same"
        story.close()
        accounts = story.settle(every_picture=False)
        assert sum(len(one.stored.pictures) for one in accounts) > 0
        assert _not_kept(own) == sum(len(one.must - set(one.stored.pictures)) for one in accounts) > 0
        assert eventually(lambda: _journal(own) == "ok")


def test_something_else_fills_the_disk(own_world: World, tmp_path: Path, teller: Teller) -> None:
    journal = tmp_path / "data" / "journal"
    with (
        _small_disk(journal),
        running(tmp_path, config=CONFIG, **own_world.settings()) as own,
        teller(own_world, own, "disk full to the last byte", mark=lambda n: Mark(n, see=("bottle",))) as story,
    ):
        story.open()
        with story.fleet.driving():
            with story.fault():
                _fill(journal / BALLAST)
                assert eventually(lambda: _journal(own).startswith("disk full"), 30)
                time.sleep(5)
                (journal / BALLAST).unlink()
            story.flows_again()
            assert eventually(lambda: _journal(own) == "ok")
        story.close()
        accounts = story.settle(every_picture=False)
        assert _not_kept(own) == sum(len(one.must - set(one.stored.pictures)) for one in accounts) > 0


def _journal(service: Service) -> str:
    health = service.json("/healthz")
    return str(health["journal"]) if health else ""


def _not_kept(service: Service) -> int:
    """Pictures that are counted as not kept."""
    return int(service.json("/healthz")["refused"].get("disk_full", 0))


def _fill(path: Path) -> None:
    """Write until there is no room for another byte."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (64 * 1024, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own, mounted on this folder; skips where that is not allowed."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", str(folder)], check=True)
