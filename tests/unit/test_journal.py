"""The journal: whatever was cut off or spoilt, the whole records before it are read back, and nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.journal import EmptyJournalError, Journal, JournalInUseError, left_behind, read_summary
from actors.journal_records import MAGIC, JournalError, Progress, Taken
from actors.records import AlertRecord, alert_uuid
from actors.vehicle import PushReply, SeenFrame, Vehicle
from models.types import Frame
from tests.builders import seen, trip, vehicle_config

TRIP = trip()


def taken(seq: int, size: int = 20) -> Taken:
    """A push of one flagged frame."""
    alert = AlertRecord(alert_uuid(TRIP.id, seq), TRIP.opened_at_ms + seq, 0.1, 0.2, 1.0, 0.0, 0.0, "bottle")
    progress = Progress(seq + 1, seq + 1, seq + 1, seq / 10, None, {"since_s": {"sleeping": 0.5}}, ("bottle",))
    return Taken(progress, (Frame(seq, seq / 10, bytes([seq % 256]) * size),), (alert,))


def written(folder: Path, pushes: int) -> bytes:
    """The bytes of a journal with so many pushes and an end."""
    journal = Journal.create(folder, TRIP, 1, Progress())
    for seq in range(pushes):
        journal.take(taken(seq))
    journal.end("device")
    [path] = left_behind(folder)
    data = path.read_bytes()
    journal.remove()
    return data


def seqs(journal: Journal) -> list[int]:
    """The frames that it holds; their rows must be the same."""
    found = [frame.seq for frame in journal.footage()]
    assert [alert.uuid for alert in journal.alerts()] == [alert_uuid(TRIP.id, seq) for seq in found]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("whole"), 6)


def test_what_was_written_is_read_back_by_the_next_process(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, TRIP, 3, Progress(next_seq=7))
    for seq in range(7, 10):
        assert journal.take(taken(seq)) == 0
    journal.end("idle")
    journal.note_uploaded()
    before = journal.summary
    journal.release()
    [path] = left_behind(tmp_path)
    again = Journal.open(path)
    assert again.summary == before
    assert (again.summary.rows, again.summary.pictures, again.summary.footage_bytes) == (3, 3, 60)
    assert again.summary.uploaded
    assert again.summary.progress == taken(9).progress
    assert list(again.footage()) == [frame for seq in range(7, 10) for frame in taken(seq).footage]
    again.remove()
    assert left_behind(tmp_path) == []


@settings(deadline=None)
@given(data=st.data())
def test_any_prefix_is_read_up_to_its_last_whole_record_and_goes_on(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole)))
    check_spoilt(whole[:cut])


@settings(deadline=None)
@given(data=st.data())
def test_any_spoilt_byte_ends_what_is_trusted(whole: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    check_spoilt(whole[:at] + bytes([value]) + whole[at + 1 :])


@settings(deadline=None)
@given(tail=st.binary(max_size=200) | st.integers(0, 300).map(bytes), cut=st.integers(0, 400))
def test_whatever_follows_a_cut_is_no_record(whole: bytes, tail: bytes, cut: int) -> None:
    check_spoilt(whole[: max(0, len(whole) - cut)] + tail)


def check_spoilt(content: bytes) -> None:
    """What can be opened holds the first pushes, in order and whole, and takes the next one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{TRIP.vehicle}.{TRIP.id}.1.journal"
        path.write_bytes(content)
        try:
            journal = Journal.open(path)
        except EmptyJournalError:
            assert len(content) <= len(MAGIC)
            assert not path.exists()
            return
        except JournalError:
            assert path.read_bytes() == content, "what cannot be understood is not changed"
            return
        found = seqs(journal)
        assert found == list(range(len(found)))
        journal.take(taken(len(found)))
        journal.release()
        again = Journal.open(path)
        assert seqs(again) == list(range(len(found) + 1))
        again.release()


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, TRIP, 1, Progress())
    [path] = left_behind(tmp_path)
    with pytest.raises(JournalInUseError):
        Journal.open(path)
    assert read_summary(path).trip == TRIP
    journal.release()
    Journal.open(path).release()


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{TRIP.vehicle}.{TRIP.id}.1.journal"
    for content in (b"", MAGIC, b"DMSJRNL9" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(JournalError):
            Journal.open(path)


Deed = st.sampled_from(["push", "killed before the answer", "killed after the answer", "repeat an old one"])


@settings(deadline=None, max_examples=60)
@given(
    flagged=st.lists(st.booleans(), min_size=1, max_size=30),
    sizes=st.lists(st.integers(1, 4), min_size=30, max_size=30),
    deeds=st.lists(Deed, min_size=30, max_size=30),
    part_bytes=st.integers(30, 300),
)
def test_whatever_is_killed_or_repeated_every_flagged_frame_is_there_once(
    flagged: list[bool], sizes: list[int], deeds: list[str], part_bytes: int
) -> None:
    frames = [seen(seq, "bottle") if flag else seen(seq) for seq, flag in enumerate(flagged)]
    with tempfile.TemporaryDirectory() as folder:
        crash = Crashing(Path(folder), part_bytes)
        sent: list[list[SeenFrame]] = []
        said = 0
        for size, deed in zip(sizes, deeds, strict=True):
            if not frames:
                break
            push, frames = frames[:size], frames[size:]
            if deed == "repeat an old one" and sent:
                crash.push(sent[len(push) % len(sent)])
            reply = crash.push(push)
            if deed == "killed before the answer":
                crash.kill()
                assert crash.push(push).alerts == reply.alerts, "an alert is lost with its answer"
            elif deed == "killed after the answer":
                crash.kill()
            said += bool(reply.alerts)
            sent.append(push)
        for push in [*sent, frames]:
            crash.push(push)
        crash.kill()
        crash.end()
        want = [seq for seq, flag in enumerate(flagged) if flag]
        assert sorted(crash.stored) == want, "missing or twice"
        assert crash.rows == {alert_uuid(TRIP.id, seq) for seq in want}


class Crashing:
    """A vehicle whose process is killed now and then; its flushes are done when the next one begins."""

    def __init__(self, folder: Path, part_bytes: int) -> None:
        self.stored: list[int] = []
        self.rows: set[object] = set()
        self._folder = folder
        self._config = vehicle_config(footage_max_bytes=part_bytes)
        self._waiting: list[Journal] = []
        self._vehicle = self._begin()

    def push(self, frames: list[SeenFrame]) -> PushReply:
        """As the Gateway does."""
        return self._vehicle.push(TRIP, frames)

    def kill(self) -> None:
        """And Ray starts it again."""
        if self._vehicle._open:  # noqa: SLF001 - what the kernel would do
            self._vehicle._open.journal.release()  # noqa: SLF001
        for journal in self._waiting:
            journal.release()
        self._waiting.clear()
        self._vehicle = self._begin()

    def end(self) -> None:
        """Close the trip and flush everything."""
        self._vehicle.push(TRIP, (), "device")
        for journal in self._waiting:
            self.stored += [frame.seq for frame in journal.footage()]
            self.rows |= {alert.uuid for alert in journal.alerts()}
            journal.remove()

    def _begin(self) -> Vehicle:
        return Vehicle(TRIP.vehicle, self._config, self._folder, self._waiting.append)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],  # noqa: S607 - where it is differs
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: " + mounted.stderr.decode().strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607


def test_on_a_disk_that_fills_up_rows_are_kept_before_pictures(small_disk: Path) -> None:
    journal = Journal.create(small_disk, TRIP, 1, Progress())
    lost = sum(journal.take(taken(seq, 100_000)) for seq in range(40))
    assert journal.fault.startswith("disk full")
    assert 20 < lost < 35
    journal.end("device")
    journal.release()
    [path] = left_behind(small_disk)
    again = Journal.open(path)
    assert len(again.alerts()) == 40, "every row is on the disk"
    assert again.summary.pictures == 40 - lost
    assert again.summary.ended
    again.release()


def fill(path: Path) -> None:
    """Take all that is left of a disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_on_a_full_disk_rows_are_held_and_written_when_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "somebody else's"
    journal = Journal.create(small_disk, TRIP, 1, Progress())
    journal.take(taken(0, 1000))
    fill(filler)
    for seq in range(1, 200):
        assert journal.take(taken(seq, 1000)) == 1
    assert journal.fault.startswith("disk full")
    assert len(journal.alerts()) == 200
    another = Journal.create(small_disk, trip(number=2), 1, Progress())
    another.take(taken(0))
    assert len(another.alerts()) == 1, "not even its file could be made"

    filler.unlink()
    assert journal.take(taken(200, 1000)) == 0
    assert journal.fault == ""
    another.take(taken(1))
    another.release()
    journal.release()
    assert {path.name.split(".")[1]: read_summary(path).rows for path in left_behind(small_disk)} == {
        str(TRIP.id): 201,
        str(trip(number=2).id): 2,
    }


def test_a_folder_that_cannot_be_written_is_said_and_costs_no_row(tmp_path: Path) -> None:
    blocked = tmp_path / "journal"
    blocked.write_text("a file where the folder should be")
    journal = Journal.create(blocked, TRIP, 1, Progress())
    journal.take(taken(0))
    assert journal.fault
    assert [alert.uuid for alert in journal.alerts()] == [alert_uuid(TRIP.id, 0)]
    journal.sync()
    journal.end("device")
    blocked.unlink()
    journal.take(taken(1))
    assert len(os.listdir(blocked)) == 1  # noqa: PTH208 - one call
    journal.remove()
