"""One fault from the first frame to the last row: vehicles drive, something breaks, and the books are balanced."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.chaos.fleet import Fleet
from tests.chaos.ledger import Account, Death, accepted_now, account, must_be_there
from tests.chaos.marks import Mark
from tests.chaos.report import Line
from tests.chaos.world import World
from tests.serve.service import Service
from tests.waiting import eventually

CLOSE_AGAIN_S = 2.0
SETTLE_TIMEOUT_S = 180.0
GIVEN_UP = ("mailbox_full", "unreadable", "crashed")
"""Reasons for which a frame that was relayed is dropped."""


class Story:
    """See the module. A test drives the fleet, wraps its fault in `fault`, and ends with `settle`.

    Args:
        name: The fault, in words.
        world: What the service stands on.
        service: The service.
        fleet: Its vehicles.
        tell: Takes the table's line.

    Attributes:
        service: The service; a test that has it restarted puts the new one here.
        trips: How many every vehicle makes.
    """

    def __init__(self, name: str, world: World, service: Service, fleet: Fleet, tell: Callable[[Line], object]) -> None:
        self.world, self.service, self.fleet = world, service, fleet
        self._name = name
        self._tell = tell
        self.trips = 1
        self._deaths: list[Death] = []
        self._began: dt.datetime | None = None
        self._began_s = self._ended_s = 0.0
        self._recovered_s: float | None = None
        self._dropped_before = self._dropped()

    def open(self) -> None:
        """Begin the trips, and return when every vehicle's actor has taken frames."""
        self.fleet.open()
        for _ in range(20):
            self.fleet.drive(1)
            if all((seen := self.stream(v)) and seen["flagged"] for v in self.fleet.vehicles):
                return
        raise AssertionError("the vehicles' actors take no frames")

    @contextlib.contextmanager
    def fault(self) -> Iterator[None]:
        """The time that the fault lasts; several count from the first to the last."""
        if self._began is None:
            self._began, self._began_s = dt.datetime.now(dt.UTC), time.monotonic()
        yield
        self._ended_s = time.monotonic()

    def flows_again(self, *, timeout_s: float = 60) -> None:
        """Return once a frame of every vehicle, sent from now on, is accepted: then the service has recovered."""
        vehicles = self.fleet.vehicles
        assert eventually(lambda: all(map(self.stream, vehicles)), timeout_s), "the streams are not open any more"
        before = {vehicle: self.stream(vehicle)["flagged"] for vehicle in vehicles}
        first = self.fleet.next_number()

        def flows() -> bool:
            for vehicle in vehicles:
                self.fleet.send(vehicle, Mark(self.fleet.next_number(), see=("bottle",)))
            time.sleep(0.1)
            return all(self._relays(v, first) and self._accepted(v) > n for v, n in before.items())

        assert eventually(flows, timeout_s), "frames are not accepted again"
        self._recovered_s = time.monotonic()

    def answered(self) -> dict[uuid.UUID, int]:
        """How many flagged frames of each vehicle's open trip the Gateway has an answer for, just now."""
        return {vehicle: self._accepted(vehicle) for vehicle in self.fleet.vehicles}

    def gateway_is_dead(self, answered: Mapping[uuid.UUID, int]) -> None:
        """Note what is accepted: the Gateway has just ended, alone or with everything else.

        Args:
            answered: Just before; the journals must hold as much.
        """
        accepted = accepted_now(self.data_dir)
        for vehicle in self.fleet.vehicles:
            accepted[vehicle].update(self.world.rows(vehicle))
            assert len(accepted[vehicle]) >= answered[vehicle], "what was answered is not in the journal"
        self._deaths.append(Death(time.monotonic(), accepted))

    def stream(self, vehicle: uuid.UUID) -> Any:
        """The vehicle's open stream; None when there is none, or no answer."""
        return self.service.json(f"/v1/streams/{vehicle}")

    def flushes(self, vehicle: uuid.UUID) -> list[Any]:
        """What is not stored yet of a vehicle's trips."""
        return [one for one in self.service.json("/v1/flushes") or () if one["vehicle"] == str(vehicle)]

    def close(self, *, timeout_s: float = 60) -> None:
        """End the trips; a device says so again until it is heard."""
        end_s = time.monotonic() + timeout_s
        while left := [v for v in self.fleet.vehicles if self.service.get(f"/v1/streams/{v}")[0] != 404]:
            assert time.monotonic() < end_s, "the trips do not end"
            self.fleet.ask_to_close(*left)
            eventually(lambda: all(self.service.get(f"/v1/streams/{v}")[0] == 404 for v in left), CLOSE_AGAIN_S)

    def settle(self, *, every_picture: bool = True) -> list[Account]:
        """Wait until all is stored, tell the table, and see that nothing is missing and nothing is there twice.

        Args:
            every_picture: Whether the footage must be complete, as the rows must.

        Returns:
            What became of each vehicle's frames.
        """
        self.fleet.wait_for_quiet()
        eventually(self._is_complete, SETTLE_TIMEOUT_S)
        recovered_s = (self._recovered_s or time.monotonic()) - self._ended_s if self._began else 0.0
        accounts = [self._account(vehicle) for vehicle in self.fleet.vehicles]
        dropped = self._dropped()
        if not self._deaths:  # a new Gateway counts from nothing
            dropped -= self._dropped_before
        self._tell(self._line(accounts, dropped, recovered_s))
        for one in accounts:
            assert not one.missing, f"accepted frames are missing: {sorted(one.missing)}"
            assert one.must <= set(one.stored.pictures) or not every_picture, "pictures are missing"
            assert not one.duplicates, one.duplicates
            assert not one.strange, f"frames that nobody flagged: {sorted(one.strange)}"
        assert self.service.json("/v1/flushes") == [], "flushes are left"
        return accounts

    @property
    def data_dir(self) -> Path:
        """Of the service."""
        return Path(self.service.environ["DATA_DIR"])

    def _relays(self, vehicle: uuid.UUID, first: int) -> bool:
        return any(one.number > first for one in self.fleet.relayed(vehicle))

    def _accepted(self, vehicle: uuid.UUID) -> int:
        stream = self.stream(vehicle)
        return int(stream["flagged"]) if stream else 0

    def _is_complete(self) -> bool:
        if self.service.json("/v1/flushes") != []:
            return False
        return all(self._must(vehicle) <= set(self.world.rows(vehicle)) for vehicle in self.fleet.vehicles)

    def _must(self, vehicle: uuid.UUID) -> frozenset[int]:
        return must_be_there(self.fleet.relayed(vehicle), self.fleet.flagged[vehicle], self._deaths, vehicle)

    def _account(self, vehicle: uuid.UUID) -> Account:
        return account(
            self.fleet.relayed(vehicle),
            self.fleet.flagged[vehicle],
            self._deaths,
            vehicle,
            stored=self.world.stored(vehicle),
            trips=self.trips,
        )

    def _dropped(self) -> int:
        health = self.service.json("/healthz")
        return sum(health["refused"].get(reason, 0) for reason in GIVEN_UP) if health else 0

    def _line(self, accounts: list[Account], dropped: int, recovered_s: float) -> Line:
        began = self._began or dt.datetime.now(dt.UTC)
        expected = sum(len(one.must) for one in accounts)
        return Line(
            fault=self._name,
            began=f"{began:%H:%M:%S}",
            lasted_s=max(0.0, self._ended_s - self._began_s),
            relayed=sum(one.relayed for one in accounts),
            accepted=expected,
            not_accepted=sum(len(one.given_up) for one in accounts),
            dropped=dropped,
            in_footage=sum(len(one.stored.pictures) for one in accounts),
            rows_expected=expected,
            rows_found=sum(len(set(one.stored.rows)) for one in accounts),
            missing=sum(len(one.missing) for one in accounts),
            duplicates=sum(len(one.duplicates) for one in accounts),
            recovered_s=recovered_s,
        )
