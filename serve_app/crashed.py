"""Frames that killed the Detector, kept for whoever has to find out why."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from models.errors import one_line
from models.logs import about
from serve_app.scheduler import Dropped

_log = logging.getLogger(__name__)

KEPT_FILES = 100
"""With frames of `MAX_FRAME_BYTES` they are 100 MB by default; the newest tell most."""


class CrashedFrames:
    """A folder of the newest such frames, each as `{trip}-{seq}.jpg`.

    What lies there is HOSTILE INPUT until shown otherwise: very likely made to break a decoder, or to run code in it.
    Open it in a sandbox only, with no viewer and no file manager that draws previews. It may show a driver as well, so
    only the service's user may read it.

    Args:
        folder: Made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # two at once would miss files that the other one removes

    def keep(self, dropped: Dropped) -> None:
        """Write the frame's very bytes and remove what is too old; waits for the disk, and never raises for it."""
        path = self._folder / f"{dropped.trip.id}-{dropped.frame.seq}.jpg"
        try:
            with self._lock:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.write_bytes(dropped.frame.jpeg)
                for old in sorted(self._folder.glob("*.jpg"), key=_written)[:-KEPT_FILES]:
                    old.unlink()
        except OSError as error:
            with about(dropped.trip.vehicle, dropped.trip.id):
                _log.warning("a frame that killed the Detector could not be kept: %s", one_line(error))


def _written(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name
