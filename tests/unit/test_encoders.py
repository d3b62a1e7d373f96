"""A node's places for encoders: as many hold one as there are, and nobody takes one away with him."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from actors import encoders
from actors.encoders import encoder_place, yield_cores

HOLD = """
import sys, time
from pathlib import Path
from actors.encoders import encoder_place
with encoder_place(Path(sys.argv[1]), 1):
    print("held", flush=True)
    time.sleep(600)
"""


def test_no_more_encode_at_once_than_there_are_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "POLL_S", 0.001)
    lock = threading.Lock()
    now = most = done = 0

    def encode() -> None:
        nonlocal now, most, done
        with encoder_place(tmp_path / "made when needed", 2):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.02)
            with lock:
                now -= 1
                done += 1

    threads = [threading.Thread(target=encode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (most, done) == (2, 8)


def test_who_fails_gives_his_place_back(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"), encoder_place(tmp_path, 1):
        raise OSError("no room on the disk")
    with encoder_place(tmp_path, 1):
        pass


def test_a_killed_process_holds_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "POLL_S", 0.001)
    took = threading.Event()

    def take() -> None:
        with encoder_place(tmp_path, 1):
            took.set()

    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        waiting = threading.Thread(target=take)
        waiting.start()
        assert not took.wait(0.2)
        other.kill()
        assert took.wait(10)
        waiting.join()


def test_whoever_waits_too_long_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoders, "LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(encoders, "POLL_S", 0.001)
    with encoder_place(tmp_path, 1), encoder_place(tmp_path, 1):
        assert "encoding without a place among the encoders: TimeoutError" in caplog.text


def test_where_there_can_be_no_places_encoding_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "encoders"
    folder.write_text("in the way")
    with encoder_place(folder):
        assert "encoding without a place among the encoders" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux only")
def test_only_the_thread_that_yields_is_nice() -> None:
    found: list[int] = []

    def yields() -> None:
        yield_cores()
        found.append(_nice())

    before = _nice()
    thread = threading.Thread(target=yields)
    thread.start()
    thread.join()
    assert (found, _nice()) == ([19], before)


def _nice() -> int:
    return int(Path(f"/proc/self/task/{threading.get_native_id()}/stat").read_text().rpartition(")")[2].split()[16])
