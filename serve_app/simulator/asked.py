"""What the service says over HTTP of simulated vehicles: looked at while they drive, and what is stored afterwards."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from serve_app.client import AnswerError

LOOK_EVERY_S = 1.0
STORED_TIMEOUT_S = 120.0
_PAGE = 1000
_TRIP = re.compile(r"-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-\d+)?\.mp4$")
_NOT_FOUND, _UNAVAILABLE = 404, 503
_NOT_LOOKED_AT = ("mailbox_full", "unreadable", "crashed")
"""Why a frame that was accepted is not looked at."""


class Service(Protocol):
    """The service, as the scoreboard asks it."""

    def ask(self, method: str, path: str, *, also: int | None = None) -> Any:
        """See `Client.ask`."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What the service said of the vehicles' trips while they were open.

    A trip that ends by itself, as at a reboot, was last looked at up to a second before: the numbers are what there was
    at least.

    Args:
        trips: How many were seen open.
        observed: Frames that it has looked at.
        flagged: Those of them that it flagged.
        backlog: Frames that wait, of the trips that are open.
    """

    trips: int = 0
    observed: int = 0
    flagged: int = 0
    backlog: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """What is stored of the vehicles since the beginning.

    Args:
        videos: Rows of `videos`.
        alerts: Rows of `alerts`.
        events: Rows of `dms_events`.
        trips: Trips with any of these.
    """

    videos: int
    alerts: int
    events: int
    trips: int


@dataclass(slots=True)
class _Trip:
    frames: int = 0
    flagged: int = 0
    backlog: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    is_open: bool = True

    @property
    def observed(self) -> int:
        """Frames looked at; the numbers are not of quite the same moment."""
        return max(0, self.frames - self.backlog - sum(self.dropped.get(reason, 0) for reason in _NOT_LOOKED_AT))


class Asked:
    """Looks at the service once a second, while it is a `with` block.

    Args:
        service: Whom to ask.
        vehicles: Whose trips it is about.
        every_s: Between two looks.

    Attributes:
        silence: Why it is not asked; empty: it answered in the beginning.
        began_anew: Whether the Gateway was replaced meanwhile, and counts from 0 again.
    """

    def __init__(self, service: Service, vehicles: Sequence[uuid.UUID], *, every_s: float = LOOK_EVERY_S) -> None:
        self.silence = ""
        self.began_anew = False
        self._service = service
        self._vehicles = {str(vehicle) for vehicle in vehicles}
        self._every_s = every_s
        self._trips: dict[str, _Trip] = {}
        self._lock = threading.Lock()
        self._refused_before: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._known: frozenset[str] = frozenset()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look_forever, name="scoreboard", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._refused_before = self._refused = self._refused_now()
            self._service.ask("GET", "/v1/streams")
            self._known = frozenset(row["uuid"] for row in self._videos()) | {row["id"] for row in self._events()}
        except AnswerError as error:
            self.silence = str(error)
        else:
            self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._looking.ident is not None:
            self._looking.join()

    def look(self) -> None:
        """Look at the open streams and at what was refused.

        Raises:
            AnswerError: The service does not answer now.
        """
        with self._lock:
            streams = self._service.ask("GET", "/v1/streams")
            for trip in self._trips.values():
                trip.is_open = False
            for one in streams:
                if one["vehicle"] in self._vehicles:
                    self._trips[one["trip"]] = _Trip(one["frames"], one["flagged"], one["backlog"], one["dropped"])
            refused = self._refused_now()
            if any(refused[reason] < count for reason, count in self._refused.items()):
                self.began_anew, self._refused_before = True, Counter()
            self._refused = refused

    @property
    def dropped(self) -> Counter[str]:
        """What the service refused or dropped since the beginning, by reason; of all vehicles, not only of these."""
        with self._lock:
            return self._refused - self._refused_before

    @property
    def driven(self) -> Driven:
        """What it said of the trips."""
        with self._lock:
            trips = list(self._trips.values())
        return Driven(
            trips=len(trips),
            observed=sum(one.observed for one in trips),
            flagged=sum(one.flagged for one in trips),
            backlog=sum(one.backlog for one in trips if one.is_open),
        )

    def await_stored(
        self,
        timeout_s: float,
        *,
        events: Callable[[], int] = lambda: 0,
        tell: Callable[[int], object] = lambda _: None,
        pause_s: float = LOOK_EVERY_S,
    ) -> tuple[int, Rows]:
        """Wait until nothing of the vehicles is open or on its way to the stores, in two looks, and all known is there.

        A trip that was closed shows in neither until what waits of it has been looked at.

        Args:
            timeout_s: Give up after so long.
            events: How many are known of.
            tell: Told of how many vehicles something is left, look by look.
            pause_s: Between two looks.

        Returns:
            Of how many something is left, and what is stored.

        Raises:
            AnswerError: The service does not answer any more.
        """
        end_s = time.monotonic() + timeout_s
        clear = 0
        while True:
            busy = {one["vehicle"] for path in ("/v1/streams", "/v1/flushes") for one in self._service.ask("GET", path)}
            left = len(busy & self._vehicles)
            clear = 0 if left else clear + 1
            tell(left)
            is_late = time.monotonic() >= end_s
            if clear > 1 or is_late:
                rows = self.rows()
                if is_late or (rows.alerts >= self.driven.flagged and rows.events >= events()):
                    return left, rows
            time.sleep(pause_s)

    def rows(self) -> Rows:
        """What is stored since the beginning.

        Raises:
            AnswerError: The service does not answer any more.
        """
        videos = [row for row in self._videos() if row["uuid"] not in self._known]
        events = [row for row in self._events() if row["id"] not in self._known]
        named = {found[1] for row in videos if (found := _TRIP.search(row["url"]))}
        return Rows(
            videos=len(videos),
            alerts=sum(len(list(self._pages(f"/v1/videos/{row['uuid']}/alerts"))) for row in videos),
            events=len(events),
            trips=len(named | {row["trip"] for row in events}),
        )

    def _refused_now(self) -> Counter[str]:
        health = self._service.ask("GET", "/healthz", also=_UNAVAILABLE)
        if not isinstance(health, dict) or not isinstance(health.get("refused"), dict):
            raise AnswerError("what answers there is no such service")
        if health.get("journal") == "unknown":  # so the API says that no Gateway has answered it
            raise AnswerError("its Gateway does not answer")
        return Counter(health["refused"])

    def _look_forever(self) -> None:
        while not self._over.wait(self._every_s):
            with contextlib.suppress(AnswerError):  # it may be about to be replaced: the next look will tell
                self.look()

    def _videos(self) -> Iterator[Any]:
        for vehicle in sorted(self._vehicles):
            yield from self._pages(f"/v1/vehicles/{vehicle}/videos")

    def _events(self) -> Iterator[Any]:
        for vehicle in sorted(self._vehicles):
            yield from self._pages(f"/v1/events?vehicle={vehicle}")

    def _pages(self, path: str) -> Iterator[Any]:
        """All rows; none where the service does not know whose they would be."""
        cursor = ""
        while True:
            try:
                page = self._service.ask("GET", f"{path}{'&' if '?' in path else '?'}limit={_PAGE}{cursor}")
            except AnswerError as error:
                if error.status == _NOT_FOUND:
                    return
                raise
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={page['next_cursor']}"
