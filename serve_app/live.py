"""What a vehicle shows and what is said of it, for those who watch; the slow see the latest, and nothing piles up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import uuid
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from pybase64 import b64decode

from actors.records import EventRecord

LATE_FRAMES = 3
"""That may be on their way to a watcher who says what has come: more than one, or each would wait for a word."""
SAID = 100
"""Messages that wait for a slow watcher; beyond, the oldest go."""
_EVENT_FIELDS = {field.name for field in dataclasses.fields(EventRecord)} - {"uuid", "started_ms", "ended_ms"} | {
    *("id", "started_at", "ended_at")
}
SENT = 200
"""Frames that are known again when it is heard what was seen in them: more than wait for detection by default."""


class Reader(Protocol):
    """The broker, as it is watched."""

    def want(self, topics: Sequence[str]) -> None:
        """Read these as well."""

    def leave(self, topics: Sequence[str]) -> None:
        """Do not any more."""


OpenReader = Callable[[Callable[[str, bytes], None], Callable[[str], None]], Reader]


class Watcher:
    """One who watches a vehicle. Frames reach it as long as it takes them; of those that it does not, the latest."""

    def __init__(self) -> None:
        self._frame: bytes | None = None
        self._said: deque[str] = deque(maxlen=SAID)
        self._observations: deque[tuple[int, dict[str, Any]]] = deque(maxlen=SAID)
        self._sent: OrderedDict[int, int] = OrderedDict()  # the number of each frame by its CRC-32
        self._number = 0
        self._on_the_way: int | None = None  # frames; None until it has said that one came
        self._something = asyncio.Event()

    def show(self, jpeg: bytes) -> None:
        """The latest frame."""
        self._frame = jpeg
        self._something.set()

    def say(self, text: str) -> None:
        """A message, JSON; none is left out unless there are far too many."""
        self._said.append(text)
        self._something.set()

    def observe(self, frame: int, observation: dict[str, Any]) -> None:
        """What was seen in a frame, known by its CRC-32; waits while too many frames are on their way."""
        self._observations.append((frame, observation))
        self._something.set()

    def came(self) -> None:
        """It has said that a frame came; from the first such word on, no more than `LATE_FRAMES` are on their way."""
        self._on_the_way = max(0, (self._on_the_way or 0) - 1)
        self._something.set()

    async def next(self) -> bytes | str:
        """What to send now: what was said first, then what was seen, then the latest frame."""
        while True:
            if self._said:
                return self._said.popleft()
            if self._on_the_way is None or self._on_the_way < LATE_FRAMES:
                if self._observations:
                    return self._seen()
                if self._frame is not None:
                    return self._next_frame(self._frame)
            self._something.clear()
            await self._something.wait()

    def _next_frame(self, frame: bytes) -> bytes:
        self._frame = None
        self._number += 1
        self._sent[zlib.crc32(frame)] = self._number
        if len(self._sent) > SENT:
            self._sent.popitem(last=False)
        if self._on_the_way is not None:
            self._on_the_way += 1
        return frame

    def _seen(self) -> str:
        """All of it, each with the number of the frame here, from 1; null for one that was left out."""
        found = [{"frame": self._sent.get(frame), **observation} for frame, observation in self._observations]
        self._observations.clear()
        return json.dumps({"observations": found})


class Live:
    """Hands what the broker says of a vehicle to its watchers.

    Args:
        open_reader: Makes the reader, from what takes (topic, payload) and what takes its state, both on any thread.
            Called when the first watcher comes.
    """

    def __init__(self, open_reader: OpenReader) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # where the watchers are
        self._open_reader = open_reader
        self._reader: Reader | None = None
        self._state = "disconnected"
        self._watchers: dict[str, list[Watcher]] = {}

    @property
    def watchers(self) -> int:
        """How many there are."""
        return sum(map(len, self._watchers.values()))

    @contextlib.contextmanager
    def watch(self, vehicle: uuid.UUID) -> Iterator[Watcher]:
        """Watch it until the block ends."""
        self._loop = asyncio.get_running_loop()
        if self._reader is None:
            self._reader = self._open_reader(self._hear, self._note)
        name, watcher = str(vehicle), Watcher()
        topics = [f"{kind}/{name}" for kind in ("base64", "alert", "event")]
        self._watchers.setdefault(name, []).append(watcher)
        watcher.say(_state_message(self._state))
        self._reader.want(topics)
        try:
            yield watcher
        finally:
            self._reader.leave(topics)
            self._watchers[name].remove(watcher)
            if not self._watchers[name]:
                del self._watchers[name]

    def _hear(self, topic: str, payload: bytes) -> None:
        self._on_loop(self._hand_on, topic, payload)

    def _note(self, state: str) -> None:
        self._on_loop(self._tell, state)

    def _on_loop(self, do: Callable[..., None], *arguments: object) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(do, *arguments)

    def _hand_on(self, topic: str, payload: bytes) -> None:
        kind, _, name = topic.partition("/")
        try:
            jpeg = b64decode(payload, validate=True) if kind == "base64" else b""
            text = "" if kind == "base64" else payload.decode()
            if kind == "event":
                check_event(text)
        except ValueError:  # on a broker where anybody may say anything
            return
        for watcher in self._watchers.get(name, ()):
            if kind == "base64":
                watcher.show(jpeg)
            else:
                watcher.say(json.dumps({"alert": text}) if kind == "alert" else text)

    def _tell(self, state: str) -> None:
        if state == self._state:
            return
        self._state = state
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.say(_state_message(state))


def check_event(text: str) -> None:
    """Whether that is an event, as contract and `actors.records.event_message` have it.

    Raises:
        ValueError: It is not.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or set(found) - _EVENT_FIELDS:
        raise ValueError("no event")
    texts = [found.get(name) for name in ("id", "kind", "severity", "started_at")]
    peak = found.get("peak")
    if not all(isinstance(one, str) for one in texts) or not isinstance(peak, dict):
        raise ValueError("no event")
    if not all(isinstance(worst, int | float) for worst in peak.values()):
        raise ValueError("no event")


def _state_message(state: str) -> str:
    return json.dumps({"broker": state})
