"""Footage in a folder of this machine."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from actors.journal import sync_folder
from serve_app.adapters.footage import CHUNK_BYTES, checked_base_url, checked_name, is_object_name, own_base_url


class FolderStore:
    """Keeps every MP4 and trace as a file below `folder`; both `FootageStore` and `FootageReader`.

    Args:
        folder: Made when first needed.
        public_url: Where a person's browser reaches the service, `http://127.0.0.1:8000`.

    Raises:
        ValueError: `public_url` is too long for `videos.url`.
    """

    def __init__(self, folder: Path, public_url: str) -> None:
        self._folder = folder
        self._base_url = checked_base_url("PUBLIC_URL", own_base_url(public_url))

    def put(self, name: str, file: Path) -> None:
        """See `FootageStore.put`; the file appears whole and on disk, or not at all."""
        target = self._folder / checked_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _copy(file, target)
        # The part is forgotten elsewhere once this returns, so the names must be on disk as well.
        for folder in target.parents:
            sync_folder(folder)
            if folder == self._folder:
                break

    def url(self, name: str) -> str:
        """See `FootageStore.url`."""
        return f"{self._base_url}/{checked_name(name)}"

    def size(self, name: str) -> int | None:
        """See `FootageReader.size`."""
        if not is_object_name(name):
            return None
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """See `FootageReader.read`."""
        return self._pieces(self._folder / checked_name(name), start, end)

    def signed_url(self, name: str) -> str | None:
        """None: nobody but the service serves a folder."""
        checked_name(name)
        return None

    def ping(self) -> None:
        """See `FootageReader.ping`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{self._folder} cannot be written to")

    @staticmethod
    def _pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(CHUNK_BYTES, end - start))):
                yield piece
                start += len(piece)


def _copy(file: Path, target: Path) -> None:
    # One fixed temporary name with a lock, so that what a killed process left is taken over and never piles up.
    part = target.with_name(f".{target.name}.part")
    with file.open("rb") as source, part.open("ab") as copy:
        fcntl.flock(copy, fcntl.LOCK_EX)
        if target.exists():  # another process was faster
            part.unlink(missing_ok=True)
            return
        copy.truncate(0)
        try:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
            copy.flush()
            os.fsync(copy.fileno())
        except OSError:
            copy.truncate(0)  # on a full disk others need that room
            raise
        part.replace(target)
