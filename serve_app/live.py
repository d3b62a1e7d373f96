"""What a vehicle shows and what is said of it, for those who watch; the slow see the latest, and nothing piles up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import uuid
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
LATE_GROUPS = 2
"""As `LATE_FRAMES`, of the groups of frames that a fleet's watcher gets."""
GROUP_BYTES = 4 * 2**20
"""In a group, and one frame more: what a slow line has to carry before it hears of anything else."""
_BYTES_OF_LENGTH = 4
_PICTURES = ("base64",)
_EVERYTHING = (*_PICTURES, "alert", "event")


class Reader(Protocol):
    """The broker, as it is watched."""

    def want(self, topics: Sequence[str]) -> None:
        """Read these as well."""

    def leave(self, topics: Sequence[str]) -> None:
        """Do not any more."""


OpenReader = Callable[[Callable[[str, bytes], None], Callable[[str], None]], Reader]


class _Hearer:
    """One to whom something is sent: what was said first, then what `_take` has for it."""

    def __init__(self) -> None:
        self._said: deque[str] = deque(maxlen=SAID)
        self._something = asyncio.Event()

    def say(self, text: str) -> None:
        """A message, JSON; none is left out unless there are far too many."""
        self._said.append(text)
        self._something.set()

    async def next(self) -> bytes | str:
        """What to send now; waits for it."""
        while True:
            if self._said:
                return self._said.popleft()
            if (item := self._take()) is not None:
                return item
            self._something.clear()
            await self._something.wait()

    def _take(self) -> bytes | str | None:
        raise NotImplementedError


class Watcher(_Hearer):
    """One who watches a vehicle. Frames reach it as long as it takes them; of those that it does not, the latest."""

    def __init__(self) -> None:
        super().__init__()
        self._frame: bytes | None = None
        self._observations: deque[tuple[int, dict[str, Any]]] = deque(maxlen=SAID)
        self._sent: OrderedDict[int, int] = OrderedDict()  # the number of each frame by its CRC-32
        self._number = 0
        self._on_the_way: int | None = None  # frames; None until it has said that one came

    def show(self, jpeg: bytes) -> None:
        """The latest frame."""
        self._frame = jpeg
        self._something.set()

    def observe(self, frame: int, observation: dict[str, Any]) -> None:
        """What was seen in a frame, known by its CRC-32; waits while too many frames are on their way."""
        self._observations.append((frame, observation))
        self._something.set()

    def came(self) -> None:
        """It has said that a frame came; from the first such word on, no more than `LATE_FRAMES` are on their way."""
        self._on_the_way = max(0, (self._on_the_way or 0) - 1)
        self._something.set()

    def _take(self) -> bytes | str | None:
        """What was seen, then the latest frame."""
        if self._on_the_way is None or self._on_the_way < LATE_FRAMES:
            if self._observations:
                return self._seen()
            if self._frame is not None:
                return self._next_frame(self._frame)
        return None

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


class FleetWatcher(_Hearer):
    """One who watches many vehicles at once: the latest frame of each that has a new one, all of them together.

    A message through Serve costs the same, whatever is in it: fifty vehicles in one are little more than one vehicle.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tiles: dict[uuid.UUID, _Tile] = {}  # of the vehicles that it watches
        self._frames: dict[uuid.UUID, bytes] = {}
        self._on_the_way = 0  # groups

    def show(self, vehicle: uuid.UUID, jpeg: bytes) -> None:
        """The latest frame of a vehicle."""
        self._frames[vehicle] = jpeg
        self._something.set()

    def forget(self, vehicle: uuid.UUID) -> None:
        """A frame of it that waits is not wanted any more."""
        self._frames.pop(vehicle, None)

    def came(self) -> None:
        """It has said that a group came; no more than `LATE_GROUPS` are on their way."""
        self._on_the_way = max(0, self._on_the_way - 1)
        self._something.set()

    def _take(self) -> bytes | None:
        """A group of frames, see `pack`."""
        if not self._frames or self._on_the_way >= LATE_GROUPS:
            return None
        self._on_the_way += 1
        return pack(self._group())

    def _group(self) -> dict[uuid.UUID, bytes]:
        """Those that wait, the longest waiting first, to `GROUP_BYTES` and one frame more."""
        group: dict[uuid.UUID, bytes] = {}
        size = 0
        for vehicle, jpeg in list(self._frames.items()):
            if size >= GROUP_BYTES:
                break
            group[vehicle] = self._frames.pop(vehicle)
            size += len(jpeg)
        return group


def pack(frames: Mapping[uuid.UUID, bytes]) -> bytes:
    """One after another: the vehicle's UUID (16 bytes), the JPEG's length (4 bytes, big-endian), the JPEG."""
    parts = ((vehicle.bytes, len(jpeg).to_bytes(_BYTES_OF_LENGTH, "big"), jpeg) for vehicle, jpeg in frames.items())
    return b"".join(itertools.chain.from_iterable(parts))


@dataclass(frozen=True, slots=True)
class _Tile:
    """A vehicle among those of a fleet's watcher, who is shown it and hears nothing of it."""

    fleet: FleetWatcher
    vehicle: uuid.UUID

    def show(self, jpeg: bytes) -> None:
        self.fleet.show(self.vehicle, jpeg)

    def say(self, text: str) -> None:
        pass


class Live:
    """Hands what the broker says of vehicles to those who watch them.

    Args:
        open_reader: Makes the reader, from what takes (topic, payload) and what takes its state, both on any thread.
            Called when the first watcher comes.
    """

    def __init__(self, open_reader: OpenReader) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # where the watchers are
        self._open_reader = open_reader
        self._reader: Reader | None = None
        self._state = "disconnected"
        self._watchers: list[Watcher | FleetWatcher] = []
        self._by_vehicle: dict[str, list[Watcher | _Tile]] = {}

    @property
    def watchers(self) -> int:
        """How many there are."""
        return len(self._watchers)

    @contextlib.contextmanager
    def watch(self, vehicle: uuid.UUID) -> Iterator[Watcher]:
        """Watch it until the block ends."""
        watcher = Watcher()
        with self._present(watcher):
            self._join({vehicle: watcher}, _EVERYTHING)
            try:
                yield watcher
            finally:
                self._leave({vehicle: watcher}, _EVERYTHING)

    @contextlib.contextmanager
    def watch_fleet(self) -> Iterator[FleetWatcher]:
        """Watch many until the block ends; which, says `choose`."""
        watcher = FleetWatcher()
        with self._present(watcher):
            try:
                yield watcher
            finally:
                self.choose(watcher, ())

    def choose(self, watcher: FleetWatcher, vehicles: Iterable[uuid.UUID]) -> None:
        """It watches these, in place of those before."""
        wanted = set(vehicles)
        new = {vehicle: _Tile(watcher, vehicle) for vehicle in wanted - watcher.tiles.keys()}
        gone = {vehicle: watcher.tiles.pop(vehicle) for vehicle in watcher.tiles.keys() - wanted}
        watcher.tiles.update(new)
        self._join(new, _PICTURES)
        self._leave(gone, _PICTURES)
        for vehicle in gone:
            watcher.forget(vehicle)

    @contextlib.contextmanager
    def _present(self, watcher: Watcher | FleetWatcher) -> Iterator[None]:
        self._loop = asyncio.get_running_loop()
        self._watchers.append(watcher)
        watcher.say(_state_message(self._state))
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def _join(self, watchers: Mapping[uuid.UUID, Watcher | _Tile], kinds: Iterable[str]) -> None:
        if self._reader is None:
            self._reader = self._open_reader(self._hear, self._note)
        for vehicle, watcher in watchers.items():
            self._by_vehicle.setdefault(str(vehicle), []).append(watcher)
        if watchers:
            self._reader.want(_topics(watchers, kinds))

    def _leave(self, watchers: Mapping[uuid.UUID, Watcher | _Tile], kinds: Iterable[str]) -> None:
        if self._reader is not None and watchers:
            self._reader.leave(_topics(watchers, kinds))
        for vehicle, watcher in watchers.items():
            self._by_vehicle[str(vehicle)].remove(watcher)
            if not self._by_vehicle[str(vehicle)]:
                del self._by_vehicle[str(vehicle)]

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
            if kind == "base64" and not jpeg:  # so a retained message is cleared
                return
            text = "" if kind == "base64" else payload.decode()
            if kind == "event":
                check_event(text)
        except ValueError:  # on a broker where anybody may say anything
            return
        for watcher in self._by_vehicle.get(name, ()):
            if kind == "base64":
                watcher.show(jpeg)
            else:
                watcher.say(json.dumps({"alert": text}) if kind == "alert" else text)

    def _tell(self, state: str) -> None:
        if state == self._state:
            return
        self._state = state
        for watcher in self._watchers:
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


def _topics(vehicles: Iterable[uuid.UUID], kinds: Iterable[str]) -> list[str]:
    return [f"{kind}/{vehicle}" for vehicle, kind in itertools.product(vehicles, kinds)]


def _state_message(state: str) -> str:
    return json.dumps({"broker": state})
