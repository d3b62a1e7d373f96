"""What the simulator's scoreboard makes of what it hears and is told; no broker, no service."""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections import Counter
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest

from models.types import DropReason
from serve_app.client import AnswerError
from serve_app.simulator.asked import Asked, Driven, Rows
from serve_app.simulator.device import Sent
from serve_app.simulator.heard import Relays
from serve_app.simulator.score import COUNTED_BEFORE_RELAY, Answers, Relayed, Score
from tests.builders import vehicle_id
from tests.fakes.clock import FakeClock

A, B, OTHER = (vehicle_id(number) for number in (1, 2, 3))
TRIP = "11111111-2222-3333-4444-555555555555"


def sent(frames: int = 100, **changes: Any) -> Sent:
    """What one vehicle sent, without a mishap."""
    none: dict[str, Any] = dict.fromkeys(("lost", "missed", "unsent", "sent_bytes", "reboots", "broken"), 0)
    of = {"vehicle": A, "frames": frames, "seconds": 10.0, "late_s": 0.0, "put_off_s": 0.0, "closed": True}
    return Sent(**{**none, **of, **changes})


def answers(frames: int = 100, **changes: Any) -> Answers:
    """Of a service that did what it should, and flagged ten of the frames."""
    good: dict[str, Any] = {
        "driven": Driven(trips=1, observed=frames, flagged=10),
        "dropped": Counter(),
        "left": 0,
        "rows": Rows(videos=1, alerts=10, events=2, trips=1),
    }
    return Answers(**{**good, **changes})


def line(score: Score, name: str) -> str:
    """A row of the scoreboard."""
    [found] = [one for one in str(score).splitlines() if one.startswith(f"  {name} ")]
    return found.removeprefix(f"  {name}").strip()


def test_frames_are_known_again_and_timed() -> None:
    clock = FakeClock()
    relays = Relays(clock)
    for i in range(100):
        relays.sends(A, b"frame %d" % i)
        relays.sends(B, b"frame %d" % i)
        clock.advance(0.01 if i < 90 else 0.5)
        relays.heard(A, b64encode(b"frame %d" % i))
    assert (relays.relayed, relays.strange) == (100, 0)
    assert relays.after_s(0.5) == pytest.approx(0.01)
    assert relays.after_s(0.95) == pytest.approx(0.5)


def test_a_frame_that_is_missing_does_not_make_the_next_one_late() -> None:
    clock = FakeClock()
    relays = Relays(clock)
    for i in range(3):
        relays.sends(A, b"frame %d" % i)
        clock.advance(1)
    relays.heard(A, b64encode(b"frame 2"))
    assert relays.relayed == 1
    assert relays.after_s(0.5) == pytest.approx(1)


def test_what_was_not_sent_so_is_strange() -> None:
    relays = Relays()
    relays.sends(A, b"one")
    relays.sends(A, b"two")
    relays.heard(A, b64encode(b"three"))
    relays.heard(A, b"no base64")
    relays.heard(B, b64encode(b"one"))
    relays.heard(A, b64encode(b"two"))
    relays.heard(A, b64encode(b"two"))
    relays.heard(A, b64encode(b"one"))
    assert (relays.relayed, relays.strange) == (1, 5), "altered, unreadable, of another, twice, too late"
    assert Relays().after_s(0.5) is None


def test_a_good_run_has_no_fault_and_says_so() -> None:
    score = Score([sent(), sent()], Relayed(200, 0, 0.004, 0.0123), 3, 5, 2, answers(200))
    assert score.faults == []
    assert str(score).splitlines() == [
        "scoreboard",
        "  sent      200 frames; 0 lost on purpose",
        "  relayed   200, half of them within 0.004 s, 95 % within 0.012 s",
        "  observed  200 of 1 trips, 10 of them flagged",
        "  dropped   none",
        "  alerts    3 heard",
        "  events    2 heard, in 5 messages",
        "  stored    1 videos, 10 alerts, 2 events of 1 trips",
        "  every frame is accounted for",
    ]


def test_frames_lost_on_purpose_or_in_a_reboot_or_counted_by_the_service_are_no_fault() -> None:
    fleet = [sent(90, lost=5, missed=4, unsent=1, reboots=2), sent(50)]
    dropped = Counter({"not_open": 6, "truncated": 4, "mailbox_full": 7})
    score = Score(fleet, Relayed(130), answers=answers(dropped=dropped))
    assert score.faults == []
    assert (
        line(score, "sent")
        == "140 frames; 5 lost on purpose, 4 missed in 2 reboots, 1 not sent for want of a connection"
    )
    assert line(score, "dropped") == "7 mailbox_full, 6 not_open, 4 truncated (all vehicles of this service)"
    assert line(score, "observed").startswith("at least 100 of 1 trips")


def test_a_loss_that_nobody_counted_is_a_fault_with_its_numbers() -> None:
    dropped = Counter({"not_open": 6, "mailbox_full": 7})
    score = Score([sent(140)], Relayed(130), answers=answers(dropped=dropped))
    assert score.faults == [
        "140 sent - 130 relayed - 6 dropped before that (6 not_open) = 4 frames that nobody counted"
    ]
    assert f"WRONG: {score.faults[0]}" in str(score)
    assert "accounted" not in str(score)


def test_what_may_explain_a_loss_is_said() -> None:
    [fault] = Score([sent(broken=2)], Relayed(97), answers=answers(began_anew=True)).faults
    assert "2 connections broke" in fault and "Gateway was replaced" in fault
    [fault] = Score([sent()], Relayed(0), silence="no service answers").faults
    assert "was not asked" in fault and "does a service run" in fault


def test_more_that_others_were_refused_does_not_hide_behind_a_negative_number() -> None:
    assert Score([sent()], Relayed(98), answers=answers(dropped=Counter(not_open=500))).faults == []


def test_without_a_service_to_ask_its_cells_say_so_and_nothing_fails() -> None:
    score = Score([sent()], Relayed(100), silence="no service answers at http://x: refused")
    assert score.faults == []
    assert {line(score, name) for name in ("observed", "dropped", "stored")} == {"not asked"}
    assert "  not asked: no service answers at http://x: refused" in str(score).splitlines()


@pytest.mark.parametrize(
    ("relayed", "said", "fault"),
    [
        (Relayed(100, 3), answers(), "3 frames were relayed altered"),
        (Relayed(40, deaf="the broker does not let this user read"), answers(), "cannot be said: the broker does not"),
        (Relayed(100), answers(left=2), "of 2 vehicles is not stored after 120 s"),
        (Relayed(100), answers(rows=Rows(1, 7, 2, 1)), "10 frames were flagged - 7 rows of them = 3 missing"),
        (Relayed(100), answers(rows=Rows(1, 10, 1, 1)), "2 events were heard - 1 rows of them = 1 missing"),
        (Relayed(100), answers(rows=None), "does not answer any more"),
    ],
    ids=["altered", "deaf", "late", "rows", "events", "silent"],
)
def test_other_faults(relayed: Relayed, said: Answers, fault: str) -> None:
    [found] = Score([sent()], relayed, events=2, answers=said).faults
    assert fault in found


def test_nobody_complains_of_what_was_not_waited_for() -> None:
    score = Score([sent()], Relayed(100), answers=answers(left=None, rows=Rows(0, 0, 0, 0)))
    assert score.faults == []
    assert line(score, "stored").endswith("not waited for")


class FakeService:
    """`Service`: answers by path, pages of two rows."""

    def __init__(self) -> None:
        self.health: Any = {"refused": {"not_open": 3}, "journal": "ok"}
        self.streams: list[dict[str, Any]] = []
        self.flushes: list[list[uuid.UUID]] = []
        self.videos: list[dict[str, Any]] = []
        self.alerts: dict[str, list[str]] = {}
        self.events: list[dict[str, Any]] = []
        self.is_down = False

    def ask(self, method: str, path: str, *, also: int | None = None) -> Any:
        """See `Service.ask`."""
        if self.is_down:
            raise AnswerError("no service answers")
        assert method == "GET"
        url = urlsplit(path)
        query = parse_qs(url.query)
        if url.path == "/healthz":
            assert also == 503
            return self.health
        if url.path == "/v1/streams":
            return self.streams
        if url.path == "/v1/flushes":
            return [{"vehicle": str(one)} for one in (self.flushes.pop(0) if self.flushes else [])]
        return self._page(self._rows(url.path, query), query)

    def opened(self, trip: str, vehicle: uuid.UUID = A, **numbers: Any) -> None:
        """Show this trip, in place of what was shown of it."""
        of: dict[str, Any] = {"frames": 0, "flagged": 0, "backlog": 0, "dropped": {}}
        self.streams = [one for one in self.streams if one["trip"] != trip]
        self.streams.append({"trip": trip, "vehicle": str(vehicle), **of, **numbers})

    def stored(self, name: str, trip: str, alerts: int, vehicle: uuid.UUID = A) -> None:
        """Put a video and its alerts there."""
        url = f"http://127.0.0.1:8000/footage/2026-01-01/{vehicle}-{trip}.mp4"
        self.videos.append({"uuid": name, "vehicle": str(vehicle), "url": url})
        self.alerts[name] = [f"{name}-{i}" for i in range(alerts)]

    def _rows(self, path: str, query: dict[str, list[str]]) -> list[Any]:
        of = path.split("/")[3] if path.count("/") > 2 else query["vehicle"][0]
        if path.startswith("/v1/videos/"):
            return list(self.alerts[of])
        rows = [row for row in (self.events if path == "/v1/events" else self.videos) if row["vehicle"] == of]
        if not rows and path != "/v1/events":
            raise AnswerError("no such vehicle is known", 404)
        return rows

    def _page(self, rows: list[Any], query: dict[str, list[str]]) -> Any:
        begin = int(query.get("cursor", ["0"])[0])
        more = begin + 2 < len(rows)
        return {"items": rows[begin : begin + 2], "next_cursor": str(begin + 2) if more else None}


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def asked(service: FakeService) -> Asked:
    """It looks when told, and not by itself."""
    return Asked(service, [A, B], every_s=3600)


def test_the_trips_numbers_are_what_was_last_seen_of_each(service: FakeService) -> None:
    with asked(service) as look:
        service.opened("first", frames=5, backlog=2)
        service.opened("other", OTHER, frames=1000, flagged=1000)
        look.look()
        service.opened("first", frames=20, flagged=4, backlog=3, dropped={"mailbox_full": 2, "not_relayed": 1})
        look.look()
        service.streams = []
        service.opened("second", B, frames=7, flagged=7, backlog=1)
        look.look()
        assert look.driven == Driven(trips=2, observed=20 - 3 - 2 + 7 - 1, flagged=11, backlog=1)


def test_only_what_was_refused_since_the_beginning_counts(service: FakeService) -> None:
    with asked(service) as look:
        assert look.dropped == Counter()
        service.health["refused"] = {"not_open": 5, "not_jpeg": 1}
        look.look()
        assert (look.dropped, look.began_anew) == ({"not_open": 2, "not_jpeg": 1}, False)
        service.health["refused"] = {"not_jpeg": 2}
        look.look()
        assert (look.dropped, look.began_anew) == ({"not_jpeg": 2}, True)


def test_an_api_without_its_gateway_does_not_look_like_a_new_one(service: FakeService) -> None:
    with asked(service) as look:
        service.health = {"refused": {}, "journal": "unknown"}
        with pytest.raises(AnswerError):
            look.look()
        assert not look.began_anew


@pytest.mark.parametrize("health", [[], {"refused": None}, {"status": "fine"}])
def test_who_is_no_such_service_is_not_asked(service: FakeService, health: Any) -> None:
    service.health = health
    with asked(service) as look:
        assert look.silence == "what answers there is no such service"


def test_a_service_that_is_not_there_is_not_asked(service: FakeService) -> None:
    service.is_down = True
    with asked(service) as look:
        assert look.silence == "no service answers"


def test_rows_are_those_that_were_not_there_before(service: FakeService) -> None:
    service.stored("old", TRIP, 5)
    service.events = [{"id": "old event", "vehicle": str(A), "trip": TRIP}]
    with asked(service) as look:
        assert look.rows() == Rows(0, 0, 0, 0)
        for i in range(3):
            service.stored(f"new {i}", TRIP.replace("1", str(i + 2)), alerts=i + 1)
        service.stored("part 2", f"{TRIP.replace('1', '2')}-2", alerts=4)
        service.stored("other", TRIP, 100, OTHER)
        service.events += [{"id": f"{i}", "vehicle": str(B), "trip": "without a video"} for i in range(3)]
        assert look.rows() == Rows(videos=4, alerts=10, events=3, trips=4)


def test_what_is_on_its_way_to_the_stores_is_waited_for(service: FakeService) -> None:
    service.flushes = [[], [A, B, OTHER], [B], [], [OTHER], [A]]
    told: list[int] = []
    with asked(service) as look:
        assert look.await_stored(60, tell=told.append, pause_s=0) == (0, Rows(0, 0, 0, 0))
    assert told == [0, 2, 1, 0, 0], "it may take a moment until a closed trip shows"


def test_what_does_not_get_there_is_given_up(service: FakeService) -> None:
    service.opened("stuck")
    service.flushes = [[B]]
    with asked(service) as look:
        assert look.await_stored(0, pause_s=0) == (2, Rows(0, 0, 0, 0))


def test_what_was_flagged_is_waited_for_also_while_no_list_shows_it(service: FakeService) -> None:
    service.opened("first", frames=5, flagged=5)
    told: list[int] = []

    def later(left: int) -> None:
        told.append(left)
        if len(told) == 4:
            service.stored("video", TRIP, alerts=5)

    with asked(service) as look:
        look.look()
        service.streams = []
        assert look.await_stored(60, tell=later, pause_s=0) == (0, Rows(videos=1, alerts=5, events=0, trips=1))
        assert len(told) == 4
        service.events = [{"id": "event", "vehicle": str(A), "trip": TRIP}]
        assert look.await_stored(60, events=lambda: 1, pause_s=0)[1].events == 1
        assert look.await_stored(0, events=lambda: 2, pause_s=0)[1].events == 1


def test_no_trip_was_looked_at_less_than_not_at_all(service: FakeService) -> None:
    service.opened("first", frames=5, backlog=9)  # taken a moment later
    service.opened("second", B, frames=5)
    with asked(service) as look:
        look.look()
        assert look.driven.observed == 5


def test_reasons_before_the_relay_are_those_of_the_service() -> None:
    assert set(get_args(DropReason)) >= COUNTED_BEFORE_RELAY
