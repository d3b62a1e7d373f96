"""What the footage stores share: the reading side that HTTP needs, the form of an object's name, the limit of a URL.

The settings import it too, so that both have the same limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

CHUNK_BYTES = 1024 * 1024
"""How much of an MP4 is in memory at once while it is copied or streamed."""

URL_MAX_CHARS = 191
"""The width of `videos.url`."""

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MP4 = rf"{_DAY}/{_UUID}-{_UUID}(?:-[0-9]+)?\.mp4"
_TRACE = rf"traces/{_DAY}/{_UUID}(?:-[0-9]+)?\.json"
_OBJECT_NAME = re.compile(f"{_MP4}|{_TRACE}")
_NAME_MAX_CHARS = len("2026-01-31/.mp4") + 36 + 1 + 36 + len("-9999")

BASE_URL_MAX_CHARS = URL_MAX_CHARS - 1 - _NAME_MAX_CHARS
"""What may stand before `/{object}`, so that the URL of any trip's part up to 9999 fits."""

GCS_URL = "https://storage.googleapis.com/"
"""What stands before the name of a public bucket."""


class FootageReader(Protocol):
    """How stored footage is read back; `actors.ports.FootageStore` is how it gets there."""

    def size(self, name: str) -> int | None:
        """The bytes of `name`; None when there is no such object, also for a name that no footage can have.

        Raises:
            OSError: Or the client library's own error, when the store cannot be asked.
        """

    def read(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive) of `name`, in pieces of at most `CHUNK_BYTES`; ends early with the object.

        Raises:
            ValueError: `name` is not of the form that `actors.records.object_name` gives.
            FileNotFoundError: There is no such object; raised with the first piece.
        """

    def signed_url(self, name: str) -> str | None:
        """A URL that opens `name` for 5 minutes without credentials; None where none can be signed.

        Raises:
            ValueError: `name` is not of the form that `actors.records.object_name` gives.
        """

    def ping(self) -> None:
        """Return when the store can be used now.

        Raises:
            OSError: Or the client library's own error, when it cannot.
        """


def is_object_name(name: str) -> bool:
    """Whether `name` is of the form `YYYY-MM-DD/{uuid}-{uuid}[-{part}].mp4` or a trace's; no other is opened."""
    return _OBJECT_NAME.fullmatch(name) is not None


def trace_of(name: str) -> str:
    """The name of the trace that belongs to an MP4 of this name, which must be one of `is_object_name`."""
    day, _, trip_and_part = name.removesuffix(".mp4").partition("/")
    return f"traces/{day}/{trip_and_part[37:]}.json"  # behind the vehicle's UUID and a dash


def checked_name(name: str) -> str:
    """`name` itself.

    Raises:
        ValueError: It is not of the form that `actors.records.object_name` or `trace_name` gives.
    """
    if not is_object_name(name):
        raise ValueError(f"object name {name!r}: expected YYYY-MM-DD/{{uuid}}-{{uuid}}[-part].mp4 or a trace's")
    return name


def own_base_url(public_url: str) -> str:
    """What stands before `/{object}` where the service itself serves the footage."""
    return f"{public_url.rstrip('/')}/footage"


def checked_base_url(setting: str, base: str) -> str:
    """`base` without a slash at its end.

    Args:
        setting: What a person has to change, for the error.
        base: What stands before `/{object}`.

    Raises:
        ValueError: With an object's name behind it, it would not fit `videos.url`.
    """
    base = base.rstrip("/")
    if len(base) > BASE_URL_MAX_CHARS:
        raise ValueError(
            f"{setting} is too long: footage URLs would begin {base!r}, at most {BASE_URL_MAX_CHARS} characters fit"
        )
    return base
