"""`python -m serve_app recover` on what a killed service left, with the embedded defaults: SQLite and a folder."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from actors.records import object_name
from actors.vehicle import Vehicle
from serve_app.run import only_one
from serve_app.stores import gateway_lock
from serve_app.trip_notes import TripNotes
from tests.builders import jpeg, seen, trip, vehicle_config
from tests.serve.service import PROJECT


def left_open(folder: Path) -> Vehicle:
    """A vehicle in the middle of a trip, three flagged frames in; keep it and its journal is in use."""
    vehicle = Vehicle(trip(1).vehicle, vehicle_config(), folder / "journal", lambda *_: None)
    vehicle.push(trip(1), [seen(seq, "phone", data=jpeg()) for seq in range(3)])
    return vehicle


def recover(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command."""
    environ = {**os.environ, "DATA_DIR": str(folder), "DMS_ENV_FILE": os.devnull}
    command = [sys.executable, "-m", "serve_app", "recover"]
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=60, check=False)


def rows(folder: Path, query: str) -> list[Any]:
    """From its SQLite."""
    with contextlib.closing(sqlite3.connect(folder / "dms.sqlite3")) as database:
        return database.execute(query).fetchall()


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """What a service left that was killed with one trip open, and one opened and not yet with an actor."""
    vehicle = left_open(tmp_path)
    notes = TripNotes(tmp_path / "journal", "its Ray")
    notes.opened(trip(1))
    notes.opened(trip(2))
    assert vehicle._open  # noqa: SLF001 - what the kernel does to a killed process
    vehicle._open.journal.release()  # noqa: SLF001
    return tmp_path


def test_every_journal_is_listed_and_finished_once(killed: Path) -> None:
    done = recover(killed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"trip {trip(1).id}, part 1" in done.stdout
    assert "3 rows, 3 pictures, no end" in done.stdout
    assert "nothing is left to recover" in done.stdout
    assert (killed / "footage" / object_name(trip(1), 1)).stat().st_size > 500
    assert rows(killed, "SELECT count(*) FROM alerts") == [(3,)]
    assert set(rows(killed, "SELECT uuid, closed_by, recovered, frames, flagged FROM dms_trips")) == {
        (str(trip(1).id), "recovered", 1, 3, 3),
        (str(trip(2).id), "recovered", 1, 0, 0),
    }
    again = recover(killed)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "nothing is left to recover")
    assert list((killed / "journal").iterdir()) == []


@pytest.mark.parametrize("holder", [only_one, lambda folder: gateway_lock(folder).acquire()], ids=["run", "Gateway"])
def test_beside_a_running_service_it_only_lists(
    killed: Path, holder: Callable[[Path], AbstractContextManager[object]]
) -> None:
    with holder(killed):
        done = recover(killed)
    assert done.returncode == 1
    assert f"trip {trip(1).id}" in done.stdout
    assert "a service uses" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((killed / "journal").glob("*.journal"))) == 1


def test_a_journal_that_a_living_process_holds_is_left_and_said(tmp_path: Path) -> None:
    vehicle = left_open(tmp_path)
    done = recover(tmp_path)
    assert done.returncode == 1
    assert "1 left" in done.stdout
    assert vehicle.trip == trip(1)
