"""What a Gateway finds when it starts: living vehicles whose trips go on, and journals that nobody works on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from actors.journal import left_behind, named
from actors.vehicle_actor import VehicleStatus
from models.errors import one_line
from models.types import Trip

_log = logging.getLogger(__name__)

ADOPT_TIMEOUT_S = 10.0
"""An actor that Ray is restarting just now answers within a few seconds; one that does not is asked again later."""
SWEEP_S = 30.0
AT_ONCE = 4
"""Vehicles that are started for their journals at the same time: each takes a process, and the living come first."""
_SUFFIX = ".open"


class TripNotes:
    """`flow.Notes` as files beside the journals: an open_stream outlives the Gateway that has acknowledged it.

    Args:
        folder: Of the journals; made when needed.
        session: Names the Ray that runs; a trip of another one has no actor any more.
    """

    def __init__(self, folder: Path, session: str) -> None:
        self._folder = folder
        self._session = session
        # Neither frames nor the loop wait for a disk that stands still; one thread, so that order holds.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trip-notes")

    def opened(self, trip: Trip) -> None:
        """See `Notes.opened`; on the disk a moment later."""
        self._thread.submit(self._write, trip)

    def closed(self, trip: Trip) -> None:
        """See `Notes.closed`."""
        self._thread.submit(self._remove, trip)

    def read(self) -> tuple[list[Trip], list[Trip]]:
        """The trips noted as open: those of this Ray, and those of one that is gone."""
        return self._thread.submit(self._read).result()

    def _write(self, trip: Trip) -> None:
        note = {
            "trip": str(trip.id),
            "vehicle": str(trip.vehicle),
            "opened_at_ms": trip.opened_at_ms,
            "session": self._session,
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            half = self._path(trip).with_suffix(".half")
            half.write_text(json.dumps(note))
            half.replace(self._path(trip))
        except OSError as error:
            _log.warning("trip %s is not noted: %s", trip.id, one_line(error))

    def _remove(self, trip: Trip) -> None:
        try:
            self._path(trip).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the note of trip %s stays: %s", trip.id, one_line(error))

    def _read(self) -> tuple[list[Trip], list[Trip]]:
        mine: list[Trip] = []
        others: list[Trip] = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                note = json.loads(path.read_text())
                trip = Trip(uuid.UUID(note["trip"]), uuid.UUID(note["vehicle"]), int(note["opened_at_ms"]))
                same = note["session"] == self._session
            except FileNotFoundError:  # closed meanwhile
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:  # spoilt by a power cut, or not by us
                _log.warning("%s is no note of an open trip: %s", path.name, one_line(error))
                with contextlib.suppress(OSError):
                    path.rename(path.with_suffix(".unreadable"))
                continue
            (mine if same else others).append(trip)
        return mine, others

    def _path(self, trip: Trip) -> Path:
        return self._folder / f"{trip.vehicle}.{trip.id}{_SUFFIX}"


class Actors(Protocol):
    """The vehicles' actors, as recovery uses them."""

    async def living(self) -> set[uuid.UUID]:
        """The vehicles that have an actor."""

    async def standing(self, vehicle: uuid.UUID, timeout_s: float) -> VehicleStatus:
        """The status of a living one, after the pushes that have come to it.

        Raises:
            TimeoutError: It does not answer.
            LookupError: It is not there.
        """

    async def finish_left_behind(self, vehicle: uuid.UUID, node: str | None, trip: Trip | None = None) -> None:
        """Have its actor finish what it left: the journals on that node, the trip that was noted as open.

        The actor is started if there is none.
        """

    async def journals(self) -> dict[uuid.UUID, str | None]:
        """The vehicles that have journals on some node, and the node."""


class Recovery:
    """Adopts what lives, once; finishes what was left behind, again and again.

    Args:
        actors: See `Actors`.
        notes: The trips noted as open.
        adopt: Goes on with a living actor's trip.
        reopen: Opens a new trip of a vehicle.
        is_open: Whether this trip is open here.
        is_busy: Whether a trip of the vehicle is open here, or something of it is under way.
    """

    def __init__(
        self,
        actors: Actors,
        notes: TripNotes,
        *,
        adopt: Callable[[VehicleStatus], None],
        reopen: Callable[[uuid.UUID], None],
        is_open: Callable[[Trip], bool],
        is_busy: Callable[[uuid.UUID], bool],
    ) -> None:
        self._actors = actors
        self._notes = notes
        self._adopt = adopt
        self._reopen = reopen
        self._is_open = is_open
        self._is_busy = is_busy
        self._unanswered: set[uuid.UUID] = set()

    async def adopt(self) -> None:
        """Go on with every open trip of this Ray; to be called before the first message is taken."""
        await self._go_on(await self._actors.living())

    async def sweep_forever(self) -> None:
        """Look for what was left behind: at once, and again for what could not be finished then."""
        while True:
            try:
                await self._sweep()
            except Exception as error:  # noqa: BLE001 - whatever Ray or the disk say, the next sweep may go through
                _log.warning("looking for journals failed, again in %.0f s: %s", SWEEP_S, one_line(error))
            await asyncio.sleep(SWEEP_S)

    async def _go_on(self, living: Collection[uuid.UUID], *, only: Collection[uuid.UUID] | None = None) -> None:
        """Adopt these vehicles' trips, and open those that none of them knows.

        Args:
            living: Vehicles to ask.
            only: Look at these vehicles' notes alone.
        """
        self._unanswered = set()

        async def ask(vehicle: uuid.UUID) -> None:
            try:
                self._adopt(await self._actors.standing(vehicle, ADOPT_TIMEOUT_S))
            except LookupError:
                pass  # it has ended meanwhile
            except TimeoutError:
                _log.warning("vehicle %s does not answer; its trip is looked for again later", vehicle)
                self._unanswered.add(vehicle)

        await asyncio.gather(*(ask(vehicle) for vehicle in living))
        mine, _ = await asyncio.to_thread(self._notes.read)
        for trip in mine:
            if trip.vehicle in self._unanswered or self._is_open(trip) or (only and trip.vehicle not in only):
                continue
            # Its open_stream was acknowledged, and the Gateway was killed before the actor heard of it, or just after
            # the actor heard of its end. In the first case the vehicle must be seen; in the second the idle timeout
            # ends what was opened for nothing.
            self._notes.closed(trip)
            if not self._is_busy(trip.vehicle):
                self._reopen(trip.vehicle)

    async def _sweep(self) -> None:
        if self._unanswered:
            asked = frozenset(self._unanswered)
            await self._go_on(asked, only=asked)
        places = await self._actors.journals()
        _, others = await asyncio.to_thread(self._notes.read)
        living = await self._actors.living()
        slots = asyncio.Semaphore(AT_ONCE)

        async def finish(vehicle: uuid.UUID, node: str | None, trip: Trip | None = None) -> None:
            async with slots:
                await self._actors.finish_left_behind(vehicle, node, trip)
            if trip:
                self._notes.closed(trip)

        # Not those whose trip is open or under way: the push that comes next takes their journals over.
        idle = {v: node for v, node in places.items() if v not in living and not self._is_busy(v)}
        if idle or others:
            _log.warning("finishing what was left behind: journals of %d vehicles, %d trips", len(idle), len(others))
        work = [finish(trip.vehicle, places.get(trip.vehicle), trip) for trip in others]
        work += [finish(vehicle, node) for vehicle, node in idle.items() if vehicle not in {t.vehicle for t in others}]
        for error in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(error, BaseException):
                _log.warning("not finished, again in %.0f s: %s", SWEEP_S, one_line(error))


def vehicles_with_journals(folder: Path) -> set[uuid.UUID]:
    """The vehicles that have a journal in a folder."""
    return {found[0] for path in left_behind(folder) if (found := named(path))}
