"""`make demo` as a newcomer runs it: embedded broker, SQLite, a folder, nothing configured."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.synthetic import FPS, Clip
from tests.serve.rows import check_condition, stored
from tests.serve.service import PROJECT

EVENTS = ("sleep (critical)", "yawn (info)", "distraction_long (high)")


def test_the_demo_lands_the_trip_that_its_clip_shows(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    shutil.copy(clip.video, tmp_path / "clips")  # so that it is not made again
    done = subprocess.run(
        [sys.executable, "-m", "serve_app", "demo"],
        cwd=PROJECT,
        env={**os.environ, "DATA_DIR": str(tmp_path), "VIDEO": "", "KEEP": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Relayed 375 frames" in done.stdout
    with contextlib.closing(sqlite3.connect(tmp_path / "dms.sqlite3")) as database:
        url, rows = stored(database)
    ends = {interval.what: int(interval.end_s * FPS) - 1 for interval in clip.truth}
    check_condition(rows, url, "sleep_duration", until=ends["eyes closed"])
    check_condition(rows, url, "yawning_duration", until=ends["mouth open"])
    check_condition(rows, url, "focus_duration", until=ends["head away"])
    cups = sum(row["object_detected"] == "bottle" for row in rows)
    assert cups == pytest.approx(37, abs=4)

    printed = re.findall(r"^ +[\d.]+ +[\d.]+ +(\d+) .* {2}([a-z ]+)$", done.stdout, re.MULTILINE)
    assert [what for _, what in printed] == [
        *("sleeping", "an event", "yawning", "not focus", "an event"),
        *("bottle", "an event"),
    ]
    assert all(f"event: {event} runs" in done.stdout for event in EVENTS)
    assert sum(int(frames) for frames, _ in printed) == len(rows)
    [mp4] = (tmp_path / "footage").rglob("*.mp4")
    assert mp4.stat().st_size > 100_000
