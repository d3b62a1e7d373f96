"""What a Gateway finds when it starts: living vehicles whose trips go on, and journals that nobody works on."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from actors.journal import left_behind, named
from actors.vehicle_actor import VehicleStatus
from models.errors import one_line
from models.logs import about
from models.types import Trip
from serve_app.trip_notes import TripNotes

_log = logging.getLogger(__name__)

ADOPT_TIMEOUT_S = 10.0
"""An actor that Ray is restarting just now answers within a few seconds; one that does not is asked again later."""
SWEEP_S = 30.0
NODE_TIMEOUT_S = 30.0
AT_ONCE = 4
"""Vehicles that are started for their journals at the same time: each takes a process, and the living come first."""


Part = tuple[uuid.UUID, uuid.UUID, int]
"""Vehicle, trip and number of a part, as its journal is named."""


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

    async def journals(self, timeout_s: float) -> dict[str, dict[Part, int]]:
        """The parts that have a journal, and its bytes, by Ray's id of their node; without nodes that do not answer."""


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
            except Exception as error:  # noqa: BLE001 - whatever one vehicle has, the others go on
                with about(vehicle):
                    _log.warning("vehicle %s does not answer, and is asked again later: %s", vehicle, one_line(error))
                self._unanswered.add(vehicle)

        await asyncio.gather(*(ask(vehicle) for vehicle in living))
        mine, _ = await asyncio.to_thread(self._notes.read)
        for trip in mine:
            if trip.vehicle in self._unanswered or self._is_open(trip) or (only and trip.vehicle not in only):
                continue
            # Its open_stream was acknowledged, and the Gateway was killed before the actor heard of it, or just after
            # the actor heard of its end. In the first case the vehicle must be seen; in the second the idle timeout
            # ends what was opened for nothing.
            if not self._is_busy(trip.vehicle):
                self._reopen(trip.vehicle)
            self._notes.closed(trip)

    async def _sweep(self) -> None:
        if self._unanswered:
            asked = frozenset(self._unanswered)
            await self._go_on(asked, only=asked)
        journals = await self._actors.journals(NODE_TIMEOUT_S)
        places = {vehicle: node for node, parts in journals.items() for vehicle, _, _ in parts}
        _, others = await asyncio.to_thread(self._notes.read)
        living = await self._actors.living()
        slots = asyncio.Semaphore(AT_ONCE)

        async def finish(vehicle: uuid.UUID, node: str | None, trip: Trip | None = None) -> None:
            try:
                async with slots:
                    await self._actors.finish_left_behind(vehicle, node, trip)
            except Exception as error:  # noqa: BLE001 - whatever one vehicle has, the others are finished
                with about(vehicle, trip.id if trip else None):
                    _log.warning("vehicle %s: not finished, again in %.0f s: %s", vehicle, SWEEP_S, one_line(error))
                return
            if trip:
                self._notes.closed(trip)

        # Not those whose trip is open or under way: the push that comes next takes their journals over.
        idle = {v: node for v, node in places.items() if v not in living and not self._is_busy(v)}
        if idle or others:
            _log.warning("finishing what was left behind: journals of %d vehicles, %d trips", len(idle), len(others))
        work = [finish(trip.vehicle, places.get(trip.vehicle), trip) for trip in others]
        work += [finish(vehicle, node) for vehicle, node in idle.items() if vehicle not in {t.vehicle for t in others}]
        await asyncio.gather(*work)


def parts_with_journals(folder: Path) -> dict[Part, int]:
    """The parts that have a journal in a folder, and its bytes."""
    return {found: _size_bytes(path) for path in left_behind(folder) if (found := named(path))}


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # stored meanwhile
        return 0
