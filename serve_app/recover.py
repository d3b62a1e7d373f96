"""`python -m serve_app recover`: what the next start would do by itself, by hand and without a service."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
import uuid
from pathlib import Path

from filelock import Timeout
from tqdm import tqdm

from actors.flush import Flusher
from actors.journal import UNREADABLE, left_behind, named, read_summary
from actors.journal_records import JournalError
from actors.vehicle import Vehicle
from models.errors import one_line
from models.logs import set_up_logs
from serve_app.run import StartError, only_one
from serve_app.settings import SettingsError, process_settings
from serve_app.stores import gateway_lock, journal_folder, open_stores, vehicle_config
from serve_app.trip_notes import TripNotes

POLL_S = 0.2


def main() -> int:
    """List the journals of this machine and finish them.

    Returns:
        0 when nothing is left to finish; 1 when something is, or a service is looking after them; 2 for wrong settings.
    """
    set_up_logs("recover", level=logging.ERROR, text="%(message)s")
    try:
        settings = process_settings()
        folder = journal_folder()
        _list(folder)
        with only_one(settings.data_dir), gateway_lock(settings.data_dir).acquire(timeout=0):
            _finish(folder)
            left = [*left_behind(folder), *folder.glob(f"*{UNREADABLE}")]
    except SettingsError as error:
        sys.stderr.writelines(f"{line}\n" for line in error.lines)
        return 2
    except (StartError, Timeout):
        sys.stderr.write(f"DATA_DIR: a service uses {settings.data_dir}, and finishes its journals by itself\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what is not stored stays in the journals\n")
        return 130
    print(f"{len(left)} left" if left else "nothing is left to recover")
    return 1 if left else 0


def _list(folder: Path) -> None:
    """Print what is there."""
    paths = left_behind(folder)
    mine, others = TripNotes(folder, "").read()
    unreadable = sorted(folder.glob(f"*{UNREADABLE}"))
    print(f"{len(paths)} journals in {folder}")
    for path in paths:
        print(f"  {_line(path)}")
    for trip in (*mine, *others):
        print(f"  trip {trip.id} of vehicle {trip.vehicle}: was open when its service died")
    for path in unreadable:
        print(f"  {path.name}: cannot be read; it is kept for you to look at")


def _line(path: Path) -> str:
    try:
        summary = read_summary(path)
    except (JournalError, OSError) as error:
        return f"{path.name}: {one_line(error)}"
    opened_at = dt.datetime.fromtimestamp(summary.trip.opened_at_ms / 1000, dt.UTC)
    end = (summary.ended.closed_by or "goes on in the next part") if summary.ended else "no end"
    return (
        f"trip {summary.trip.id}, part {summary.part}, vehicle {summary.trip.vehicle}, opened {opened_at:%F %T} UTC: "
        f"{summary.rows} rows, {summary.pictures} pictures, {end}{', uploaded' if summary.uploaded else ''}"
    )


def _finish(folder: Path) -> None:
    """As the vehicles' actors do at the next start: each takes over what it left, ends it, and flushes it."""
    notes = TripNotes(folder, "")
    trips = [trip for noted in notes.read() for trip in noted]
    of = {found[0] for path in left_behind(folder) if (found := named(path))} | {trip.vehicle for trip in trips}
    settings = process_settings()
    for number, vehicle in enumerate(tqdm(sorted(of), unit=" vehicles", disable=None), 1):
        _say(f"[{number}/{len(of)}] vehicle {vehicle}")
        flusher = Flusher(open_stores, on_idle=lambda: None)
        left = Vehicle(vehicle, vehicle_config(settings), folder, flusher.submit)
        left.finish_left_behind()
        for trip in trips:
            if trip.vehicle == vehicle:
                left.finish_left_behind(trip)
                notes.closed(trip)
        _wait_for(flusher, vehicle)


def _wait_for(flusher: Flusher, vehicle: uuid.UUID) -> None:
    said = None
    while pending := flusher.pending:
        now = pending[0]
        if (now.object_name, now.step, now.attempt) != said:
            said = now.object_name, now.step, now.attempt
            why = f", attempt {now.attempt}: {now.last_error}" if now.last_error else ""
            _say(f"  {now.step:8s} {now.object_name}{why}")
        time.sleep(POLL_S)
    _say(f"  vehicle {vehicle}: done")


def _say(line: str) -> None:
    tqdm.write(line)  # past the bar
    sys.stdout.flush()
