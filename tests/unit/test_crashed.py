"""Frames that killed the Detector are kept, a hundred at most, and a full disk is one line."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from serve_app.crashed import KEPT_FILES, CrashedFrames
from serve_app.scheduler import Dropped
from tests.builders import frame, trip


def dropped(seq: int, *, number: int = 1) -> Dropped:
    """Frame `seq` of trip `number`; its bytes name it."""
    return Dropped(trip(number=number), frame(seq, data=f"{number}/{seq}".encode()), "crashed")


def test_its_very_bytes_are_kept_under_its_trip_and_number(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "crashed"
    crashed = CrashedFrames(folder)
    crashed.keep(dropped(7))
    crashed.keep(dropped(7, number=2))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        f"{trip().id}-7.jpg": b"1/7",
        f"{trip(number=2).id}-7.jpg": b"2/7",
    }
    assert folder.stat().st_mode & 0o077 == 0, "it may show a driver"


def test_the_newest_hundred_are_kept_those_of_earlier_runs_included(tmp_path: Path) -> None:
    for seq in range(KEPT_FILES + 20):
        CrashedFrames(tmp_path).keep(dropped(seq))
        os.utime(tmp_path / f"{trip().id}-{seq}.jpg", (seq, seq))  # clocks of file systems may be coarse
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{trip().id}-{seq}.jpg" for seq in range(20, KEPT_FILES + 20)
    }


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    os.utime(tmp_path / "notes.txt", (0, 0))
    crashed = CrashedFrames(tmp_path)
    for seq in range(KEPT_FILES + 1):
        crashed.keep(dropped(seq))
    assert (tmp_path / "notes.txt").exists()


def test_a_frame_that_cannot_be_kept_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "crashed").write_text("a file where the folder should be")
    with caplog.at_level(logging.INFO):
        CrashedFrames(tmp_path / "crashed").keep(dropped(0))
    [record] = caplog.records
    assert "could not be kept: FileExistsError" in record.getMessage()
    assert record.exc_info is None


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crashed = CrashedFrames(tmp_path)

    def keep(number: int) -> None:
        for seq in range(KEPT_FILES):
            crashed.keep(dropped(seq, number=number))

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == KEPT_FILES
    assert caplog.records == []
