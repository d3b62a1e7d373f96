"""The journal: what a trip has been accepted for, on this node's disk, before its push is answered.

One file for each part of a trip, `{vehicle}.{trip}.{part}.journal`: eight bytes of magic, then records, each

    length of the payload    4 bytes, little endian
    CRC32C                   4 bytes, over length and payload
    payload                  MessagePack

The first record says how the part begins, then comes one for each push that left something, then its end, then how far
its flush is. Whatever follows the last whole record is the tail of a write that was cut off: it is cut, never trusted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Self
from uuid import UUID

from actors.journal_records import (
    MAGIC,
    Begun,
    Ended,
    JournalError,
    Progress,
    Record,
    Taken,
    Uploaded,
    packed,
    read_records,
)
from actors.records import AlertRecord, EventRecord
from models.trace import Row
from models.types import ClosedBy, Frame, Trip

_log = logging.getLogger(__name__)

SUFFIX = ".journal"
UNREADABLE = ".unreadable"
"""Added to the name of a journal that cannot be read: nobody looks at it again by himself."""
RESERVE_BYTES = 128 * 2**20
"""With less than this free (a quarter of a small disk), rows are kept and pictures are not: flushes need room too."""


TORN = ".torn"
"""Added to the name of a journal for what was cut off its end; removed with it."""


class JournalInUseError(JournalError):
    """Another process holds the journal."""


class EmptyJournalError(JournalError):
    """Its process was killed as it made it, before anything was accepted; it is gone now."""


@dataclass(slots=True)
class Summary:
    """What a journal says, without its pictures.

    Args:
        trip: It is of this trip.
        part: And this part of it, from 1.
        progress: After the last push.
        footage_bytes: JPEG bytes in it.
        pictures: Frames in it.
        rows: Alert rows in it.
        events: Events that changed in it, as last known, by their UUID.
        first_s: Capture time of its first picture.
        last_s: And of its last.
        ended: Its end, if it has one.
        uploaded: Whether its MP4 is stored.
    """

    trip: Trip
    part: int
    progress: Progress
    footage_bytes: int = 0
    pictures: int = 0
    rows: int = 0
    events: dict[UUID, EventRecord] = field(default_factory=dict)
    first_s: float | None = None
    last_s: float | None = None
    ended: Ended | None = None
    uploaded: bool = False

    @property
    def closed_by(self) -> ClosedBy | None:
        """Who ended the trip with this part; None when it goes on."""
        return self.ended.closed_by if self.ended else None

    def add(self, record: Record) -> None:
        """Take a record further."""
        if isinstance(record, Taken):
            self.progress = record.progress
            self.footage_bytes += sum(len(frame.jpeg) for frame in record.footage)
            self.pictures += len(record.footage)
            self.rows += len(record.alerts)
            self.events.update({event.uuid: event for event in record.progress.events})
            for frame in record.footage:
                self.first_s = frame.captured_s if self.first_s is None else self.first_s
                self.last_s = frame.captured_s
        elif isinstance(record, Ended):
            self.ended = record
        elif isinstance(record, Uploaded):
            self.uploaded = True


class Journal:
    """One part of a trip: written by one process at a time, which holds a lock on it; read back when it is flushed.

    A disk that is full or failing stops no frame. While little is left, pictures are left out; what cannot be written
    at all is held in memory without its pictures, and written as soon as that works.

    Attributes:
        summary: What it says so far.
        recovered: Whether its end was noted by a process that died, or by nobody.
    """

    def __init__(self, path: Path, summary: Summary, file: BinaryIO | None, size: int) -> None:
        self.summary = summary
        self.recovered = summary.ended is not None
        self._no_room = ""
        self._failure = ""
        self._path = path
        self._file = file
        self._size = size  # bytes of whole records
        self._held: list[Record] = []
        self._dirty = True
        self._lock = threading.Lock()  # the sync comes from a thread of its own

    @classmethod
    def create(cls, folder: Path, trip: Trip, part: int, progress: Progress) -> Self:
        """A new journal; where it cannot be written it lives in memory until it can."""
        begun = Begun(trip, part, progress)
        path = folder / f"{trip.vehicle}.{trip.id}.{part}{SUFFIX}"
        journal = cls(path, Summary(trip, part, progress), None, 0)
        journal._held.append(begun)
        journal._write_held()
        return journal

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take over a journal that another process has left.

        Raises:
            JournalInUseError: Its process lives.
            EmptyJournalError: There was nothing in it.
            JournalError: It is none, or is cut off before its first record's end.
            OSError: It cannot be opened.
        """
        file = path.open("r+b", buffering=0)
        try:
            _lock(file)
            if os.fstat(file.fileno()).st_size <= len(MAGIC):
                path.unlink(missing_ok=True)
                raise EmptyJournalError("holds nothing")  # noqa: TRY301 - closed below like any other
            summary, size = _scan(file)
            file.seek(0, os.SEEK_END)
            if torn := file.tell() - size:
                _log.warning("%s: %d bytes at its end are of no whole record and are cut", path.name, torn)
                # It may be more than a write that was cut off: kept to look at.
                with contextlib.suppress(OSError):
                    file.seek(size)
                    path.with_name(path.name + TORN).write_bytes(file.read())
                file.truncate(size)
        except BaseException:
            file.close()
            raise
        return cls(path, summary, file, size)

    def take(self, taken: Taken) -> int:
        """Keep what a push left; it is on its way to the disk when this returns.

        Returns:
            How many of its pictures could not be kept; its rows always are.
        """
        with self._lock:
            kept = self._append(taken)
            self.summary.add(kept)
            return len(taken.footage) - len(kept.footage) if isinstance(kept, Taken) else 0

    def end(self, closed_by: ClosedBy | None) -> None:
        """Nothing more comes: the trip is closed, or (None) goes on in another part."""
        self.recovered = closed_by == "recovered"
        with self._lock:
            self.summary.add(self._append(Ended(closed_by)))
        self.sync()

    def note_uploaded(self) -> None:
        """The MP4 is in the store: a repeat need not make it again."""
        with self._lock:
            self.summary.add(self._append(Uploaded()))

    def sync(self) -> None:
        """Have the disk hold what was written, and what could not be written before; never raises."""
        with self._lock:
            if self._held and not self._write_held():
                return
            if self._file is None or not self._dirty:
                return
            try:
                handle = os.dup(
                    self._file.fileno()
                )  # pushes need not wait for the disk, nor may they close it meanwhile
            except OSError as error:
                self._fail(error)
                return
            self._dirty = False
        try:
            os.fsync(handle)
            sync_folder(self._path.parent)
        except OSError as error:
            with self._lock:
                self._dirty = True
                self._fail(error)
        finally:
            os.close(handle)

    @property
    def fault(self) -> str:
        """Why it is not complete on disk, one line; empty when all is well."""
        return self._failure or self._no_room

    @property
    def written_at(self) -> float:
        """Wall clock of the last record on disk."""
        try:
            return self._path.stat().st_mtime
        except OSError:
            return 0.0

    def footage(self) -> Iterator[Frame]:
        """Its frames in order, one push in memory at a time."""
        for record in self._records():
            if isinstance(record, Taken):
                yield from record.footage

    def alerts(self) -> list[AlertRecord]:
        """Its rows in order."""
        return [alert for record in self._records() if isinstance(record, Taken) for alert in record.alerts]

    def trace(self) -> Iterator[Row]:
        """What was seen in its frames, in order, one push in memory at a time."""
        for record in self._records():
            if isinstance(record, Taken):
                yield from record.trace

    def remove(self) -> None:
        """All of it is stored: forget it."""
        with self._lock:
            self._path.unlink(missing_ok=True)
            self._path.with_name(self._path.name + TORN).unlink(missing_ok=True)
            self._held.clear()
            self._close()

    def release(self) -> None:
        """Leave it to whoever comes next."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _records(self) -> Iterator[Record]:
        with self._lock:
            size, held = self._size if self._file is not None else 0, tuple(self._held)
        if size:
            with self._path.open("rb") as file:  # one of its own: the other's position belongs to who writes
                yield from (record for record, end in read_records(file) if end <= size)
        yield from held

    def _append(self, record: Record) -> Record:
        """Write it, after what is held; what was kept of it."""
        if isinstance(record, Taken) and record.footage and self._short_of_room():
            record = replace(record, footage=())
        self._held.append(record)
        if not self._write_held() and isinstance(record, Taken) and (record.footage or record.trace):
            self._held[-1] = record = replace(record, footage=(), trace=())
            self._write_held()  # without its pictures it may fit
        return record

    def _write_held(self) -> bool:
        """Whether nothing is held any more."""
        try:
            if self._file is None:
                self._file, self._size = _create(self._path)
            while self._held:
                data = packed(self._held[0])
                self._write(data)
                self._size += len(data)
                self._dirty = True
                del self._held[0]
        except OSError as error:
            self._fail(error)
            return False
        self._failure = ""
        return True

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 - opened by the only caller
        self._file.seek(self._size)
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise

    def _short_of_room(self) -> bool:
        try:
            short = no_room(self._path.parent)
        except OSError as error:
            self._fail(error)
            return True
        if short:
            self._say_once(short)
        self._no_room = short
        return bool(short)

    def _fail(self, error: OSError) -> None:
        fault = f"disk full: {error.strerror}" if error.errno in _FULL else str(error.strerror)
        self._say_once(fault)
        self._failure = fault

    def _say_once(self, fault: str) -> None:
        if not self.fault:
            _log.error("%s: %s; pictures are not kept, rows are", self._path.name, fault)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def no_room(folder: Path) -> str:
    """Why pictures are not kept there; empty when there is room for them.

    Raises:
        OSError: The disk cannot be asked.
    """
    disk = os.statvfs(folder)
    if disk.f_bavail >= min(disk.f_blocks // 4, RESERVE_BYTES // disk.f_frsize):
        return ""
    return f"disk full: {disk.f_bavail * disk.f_frsize // 2**20} MB left"


def left_behind(folder: Path) -> list[Path]:
    """The journals in a folder, oldest parts first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=_name_key)


def named(path: Path) -> tuple[UUID, UUID, int] | None:
    """Vehicle, trip and part that a journal's name says; None when it is no such name."""
    fields = path.name.removesuffix(SUFFIX).split(".")
    try:
        vehicle, trip, part = fields
        return UUID(vehicle), UUID(trip), int(part)
    except ValueError:
        return None


def _name_key(path: Path) -> tuple[str, int]:
    found = named(path)
    return (f"{found[0]}.{found[1]}", found[2]) if found else (path.name, 0)


def read_summary(path: Path) -> Summary:
    """What a journal says, whoever holds it.

    Raises:
        JournalError: It is none.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return _scan(file)[0]


def _create(path: Path) -> tuple[BinaryIO, int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("x+b", buffering=0)
    try:
        _lock(file)
        if file.write(MAGIC) < len(MAGIC):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - undone below like any other
    except OSError:
        file.close()
        path.unlink(missing_ok=True)
        raise
    return file, len(MAGIC)


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise JournalInUseError("another process holds it") from error


def sync_folder(folder: Path) -> None:
    """Have the disk hold the names in a folder, without which a synced file may be gone after a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _scan(file: BinaryIO) -> tuple[Summary, int]:
    """The summary of an open journal, and the bytes of its whole records."""
    summary: Summary | None = None
    size = 0
    for record, end in read_records(file):
        if isinstance(record, Begun):
            if summary is None:
                summary = Summary(record.trip, record.part, record.progress)
        elif summary is not None:
            summary.add(record)
        size = end
    if summary is None:
        raise JournalError("holds not even the beginning of a part")
    return summary, size
