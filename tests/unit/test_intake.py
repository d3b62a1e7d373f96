"""What comes in over MQTT: the rules of the contract, message by message."""

from __future__ import annotations

import base64
import logging
import threading
import uuid

import pytest

from models.jpeg import FrameLimits
from models.types import ClosedBy, Trip
from serve_app.intake import LEAST_OPENS_AT_ONCE, OPENS_PER_S, Intake, parse_uuid
from serve_app.scheduler import Item
from tests.builders import TINY_JPEG, jpeg
from tests.fakes.clock import FakeClock

VEHICLE = uuid.UUID("ab1c2d3e-0000-4000-8000-00000000000a")
OTHER = uuid.UUID("ab1c2d3e-0000-4000-8000-00000000000b")
NAME = str(VEHICLE)


class World:
    """An intake and what came out of it."""

    def __init__(self, *, max_vehicles: int = 10, max_bytes: int = 4096, max_pixels: int = 64 * 48) -> None:
        self.clock = FakeClock()
        self.wall_s = 1_767_225_599.25
        self.relayed: list[tuple[str, bytes]] = []
        self.relays = True
        self.items: list[Item] = []
        self.intake = Intake(
            limits=FrameLimits(max_bytes=max_bytes, max_pixels=max_pixels),
            max_vehicles=max_vehicles,
            relay=self._relay,
            emit=self.items.append,
            monotonic=self.clock,
            wall=lambda: self.wall_s,
        )

    def _relay(self, topic: str, payload: bytes) -> bool:
        self.relayed.append((topic, payload))
        return self.relays

    def open(self, vehicle: object = VEHICLE) -> None:
        """As a device says it."""
        self.intake.message("open_stream", str(vehicle).encode())

    def close(self, vehicle: object = VEHICLE) -> None:
        """As a device says it."""
        self.intake.message("close_stream", str(vehicle).encode())

    def frame(self, vehicle: object = VEHICLE, data: bytes = TINY_JPEG) -> None:
        """As a device sends it."""
        self.intake.message(f"stream/{vehicle}", data)

    @property
    def kinds(self) -> list[str]:
        """What came out, in order."""
        return ["frame" if one.frame else one.closed_by or "open" for one in self.items]


def test_a_trip_from_open_to_close() -> None:
    w = World()
    w.open()
    w.clock.advance(0.25)
    w.frame()
    w.clock.advance(0.25)
    w.frame(data=jpeg())
    w.close()

    assert w.kinds == ["open", "frame", "frame", "device"]
    [of] = {one.trip for one in w.items}
    assert (of.vehicle, of.opened_at_ms) == (VEHICLE, 1_767_225_599_250)
    frames = [one.frame for one in w.items if one.frame]
    assert [(one.seq, one.captured_s, one.jpeg) for one in frames] == [(0, 0.25, TINY_JPEG), (1, 0.5, jpeg())]
    assert w.intake.views() == {}
    assert w.intake.refused == {}


def test_each_trip_has_its_own_name_and_its_own_time() -> None:
    w = World()
    for _ in range(2):
        w.open()
        w.clock.advance(1.5)
        w.frame()
        w.close()
    first, second = (one for one in w.items if one.frame)
    assert first.trip.id != second.trip.id
    assert first.frame == second.frame, "seq and time begin anew"


def test_a_clock_on_the_wall_that_is_set_does_not_move_frames() -> None:
    w = World()
    w.open()
    w.wall_s -= 3600
    w.clock.advance(1.0)
    w.frame()
    assert w.items[1].frame is not None
    assert w.items[1].frame.captured_s == 1.0


@pytest.mark.parametrize(
    "text",
    [NAME, NAME.upper(), f"{{{NAME}}}", f"urn:uuid:{NAME}", VEHICLE.hex, f"urn:uuid:{{{NAME}}}"],
)
def test_every_form_of_a_uuid_names_the_same_vehicle(text: str) -> None:
    w = World()
    w.open(text)
    w.frame(NAME)
    w.frame(text)
    assert [one.trip.vehicle for one in w.items] == [VEHICLE] * 3
    w.close(text)
    assert w.kinds[-1] == "device"


def test_replies_go_to_the_text_that_the_device_wrote() -> None:
    w = World()
    w.open()
    for text in (NAME, NAME.upper(), f"{{{NAME}}}"):
        w.frame(text)
    assert w.relayed == [
        (f"base64/{text}", base64.b64encode(TINY_JPEG)) for text in (NAME, NAME.upper(), f"{{{NAME}}}")
    ]
    assert [one.text for one in w.items if one.frame] == [NAME, NAME.upper(), f"{{{NAME}}}"]


def test_further_levels_of_the_topic_are_ignored() -> None:
    w = World()
    w.open()
    w.intake.message(f"stream/{NAME}/cam0/left", TINY_JPEG)
    w.intake.message(f"stream/{NAME}/", TINY_JPEG)
    assert [topic for topic, _ in w.relayed] == [f"base64/{NAME}"] * 2


@pytest.mark.parametrize(
    "topic", ["stream", "streams/x", "base64/x", f"open_stream/{NAME}", "dms/available", "$SYS/x", ""]
)
def test_other_topics_are_none_of_ours(topic: str) -> None:
    w = World()
    w.open()
    w.intake.message(topic, NAME.encode())
    assert (w.kinds, w.relayed, w.intake.refused) == (["open"], [], {})


def test_the_relay_has_the_very_bytes_received() -> None:
    w = World()
    w.open()
    with_tail = jpeg() + b"\x00" * 100
    w.frame(data=with_tail)
    assert base64.b64decode(w.relayed[0][1]) == with_tail
    assert w.items[1].frame is not None
    assert w.items[1].frame.jpeg == with_tail


def test_a_frame_is_relayed_before_it_is_handed_on() -> None:
    order: list[str] = []

    def relay(_topic: str, _payload: bytes) -> bool:
        order.append("relay")
        return True

    intake = Intake(
        limits=FrameLimits(max_bytes=4096, max_pixels=4096),
        max_vehicles=1,
        relay=relay,
        emit=lambda item: order.append("frame" if item.frame else "open"),
    )
    intake.message("open_stream", NAME.encode())
    intake.message(f"stream/{NAME}", TINY_JPEG)
    assert order == ["open", "relay", "frame"]


def test_a_frame_of_a_stream_that_is_not_open_is_counted_only() -> None:
    w = World()
    w.frame()
    w.open()
    w.close()
    w.frame()
    assert w.kinds == ["open", "device"]
    assert w.relayed == []
    assert w.intake.refused == {"not_open": 2}


def test_opening_an_open_stream_has_no_effect() -> None:
    w = World()
    w.open()
    w.frame()
    w.open(NAME.upper())
    w.frame()
    assert w.kinds == ["open", "frame", "frame"]
    assert len({one.trip for one in w.items}) == 1
    assert w.intake.refused == {}


def test_closing_a_closed_stream_has_no_effect() -> None:
    w = World()
    w.close()
    w.open()
    w.close()
    w.close()
    assert w.kinds == ["open", "device"]
    assert w.intake.refused == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (jpeg() + bytes(4096), "too_large"),
        (b"", "not_jpeg"),
        (b"hello", "not_jpeg"),
        (jpeg()[:-2], "truncated"),
        (jpeg(65, 48), "too_many_pixels"),
    ],
)
def test_a_refused_frame_is_counted_and_touches_nothing_else(data: bytes, reason: str) -> None:
    w = World()
    w.open()
    w.open(OTHER)
    w.frame(data=data)
    w.frame()
    assert w.intake.refused == {reason: 1}
    view, other = w.intake.views()[VEHICLE], w.intake.views()[OTHER]
    assert (view.frames, view.dropped) == (1, {reason: 1})
    assert other.dropped == {}
    assert [one.frame.seq for one in w.items if one.frame] == [0]
    assert len(w.relayed) == 1


@pytest.mark.parametrize(
    "payload",
    [b"", b"hello", NAME.encode()[:-1], NAME.encode() + b"0", b"\xff\xfe" * 16, b"0" * 10_000, b"g" * 32, bytes(36)],
)
def test_a_payload_that_is_no_uuid_is_refused(payload: bytes) -> None:
    w = World()
    w.intake.message("open_stream", payload)
    w.intake.message("close_stream", payload)
    assert w.items == []
    assert w.intake.refused == {"bad_uuid": 2}


@pytest.mark.parametrize("text", ["", "hello", NAME[:-1], "0" * 10_000, "ü" * 32])
def test_a_topic_without_a_uuid_is_refused(text: str) -> None:
    w = World()
    w.frame(text)
    assert w.intake.refused == {"bad_uuid": 1}
    assert w.relayed == []


def test_a_topic_that_no_reply_can_have_is_refused() -> None:
    # uuid.UUID() reads a plus sign as part of a number, the embedded broker passes such a topic on, and paho raises
    # when it is to publish under one: that would end the Gateway.
    text = "+" + VEHICLE.hex[1:]
    w = World()
    named = parse_uuid(text.encode())
    assert named is not None
    w.open(named)
    w.frame(text)
    assert w.relayed == []
    assert w.intake.refused == {"bad_uuid": 1}


def test_what_is_dropped_later_is_counted_for_its_trip() -> None:
    w = World()
    w.open()
    [of] = {one.trip for one in w.items}
    w.intake.drop(VEHICLE, of.id, "mailbox_full")
    w.intake.drop(VEHICLE, uuid.uuid4(), "mailbox_full")
    w.intake.drop(OTHER, of.id, "unreadable")
    assert w.intake.views()[VEHICLE].dropped == {"mailbox_full": 1}
    assert w.intake.refused == {"mailbox_full": 2, "unreadable": 1}


def test_refusals_are_logged_once_per_reason_and_vehicle_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    w = World()
    caplog.set_level(logging.WARNING, "serve_app.intake")
    for vehicle in (VEHICLE, OTHER):
        w.open(vehicle)

    def junk() -> int:
        caplog.clear()
        for _ in range(50):
            w.frame(VEHICLE, b"junk")
            w.frame(VEHICLE, jpeg()[:-2])
            w.frame(OTHER, b"junk")
            w.frame("nobody")
        return len(caplog.records)

    assert junk() == 4
    w.clock.advance(9.9)
    assert junk() == 0
    w.clock.advance(0.1)
    assert junk() == 4
    assert sum(w.intake.refused.values()) == 600
    assert all("junk" not in record.getMessage() for record in caplog.records)


def test_a_stream_without_frames_ends_after_its_time() -> None:
    w = World()
    w.open()
    w.clock.advance(10)
    w.open(OTHER)
    w.clock.advance(19.9)
    assert w.intake.close_idle(30.0) == []
    w.clock.advance(0.1)
    assert w.intake.close_idle(30.0) == [VEHICLE]
    assert w.kinds == ["open", "open", "idle"]
    w.close()
    assert w.kinds == ["open", "open", "idle"], "the device's own end comes too late and has no effect"


def test_a_frame_keeps_a_stream_alive_and_a_refused_one_does_not() -> None:
    w = World()
    w.open()
    w.open(OTHER)
    for _ in range(3):
        w.clock.advance(10)
        w.frame(VEHICLE)
        w.frame(OTHER, b"junk")
        w.open(OTHER)
        w.intake.close_idle(30.0)
    assert list(w.intake.views()) == [VEHICLE]


def test_no_more_vehicles_than_allowed_and_a_place_that_is_left_is_free() -> None:
    w = World(max_vehicles=2)
    third = uuid.uuid4()
    w.open(VEHICLE)
    w.open(OTHER)
    w.open(third)
    w.frame(third)
    assert w.intake.refused == {"too_many_vehicles": 1, "not_open": 1}
    w.open(VEHICLE)
    assert w.intake.refused["too_many_vehicles"] == 1, "an open stream has its place"
    w.close(OTHER)
    w.open(third)
    assert list(w.intake.views()) == [VEHICLE, third]


def test_a_whole_fleet_that_comes_back_at_once_passes() -> None:
    w = World(max_vehicles=500)
    fleet = [uuid.uuid4() for _ in range(500)]
    for _ in range(2):
        for vehicle in fleet:
            w.open(vehicle)
        for vehicle in fleet:
            w.close(vehicle)
    assert w.kinds.count("open") == 1000
    assert w.intake.refused == {}


def test_a_device_that_makes_up_uuids_opens_ten_streams_a_second() -> None:
    w = World(max_vehicles=10)

    def open_and_close(times: int) -> int:
        before = w.kinds.count("open")
        for _ in range(times):
            made_up = uuid.uuid4()
            w.open(made_up)
            w.frame(made_up)
            w.close(made_up)
        return w.kinds.count("open") - before

    assert open_and_close(1000) == LEAST_OPENS_AT_ONCE
    assert w.intake.refused == {"too_many_opens": 900, "not_open": 900}
    for _ in range(5):
        w.clock.advance(1.0)
        assert open_and_close(100) == OPENS_PER_S


def test_only_an_opening_costs_a_token() -> None:
    w = World(max_vehicles=1)
    w.open()
    for _ in range(1000):
        w.open()  # it is open
        w.open(OTHER)  # there is no place
        w.intake.message("open_stream", b"junk")
    assert w.intake.refused == {"too_many_vehicles": 1000, "bad_uuid": 1000}
    for _ in range(LEAST_OPENS_AT_ONCE - 1):
        w.close()
        w.open()
    assert "too_many_opens" not in w.intake.refused
    w.close()
    w.open()
    assert w.intake.refused["too_many_opens"] == 1


def test_streams_that_are_open_do_not_suffer_from_too_many_opens() -> None:
    w = World(max_vehicles=10)
    w.open()
    for _ in range(1000):
        w.open(OTHER)
        w.close(OTHER)
    w.frame()
    assert w.kinds[-1] == "frame"
    assert w.intake.views()[VEHICLE].dropped == {}


def test_made_up_vehicles_share_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    w = World(max_vehicles=1)
    for _ in range(LEAST_OPENS_AT_ONCE):
        w.open()
        w.close()

    def junk() -> list[str]:
        caplog.clear()
        for _ in range(500):
            made_up = uuid.uuid4()
            w.open(made_up)
            w.frame(made_up)
        return [record.getMessage().split(" from")[0] for record in caplog.records]

    assert junk() == ["dropped (too_many_opens)", "dropped (not_open)"]
    w.clock.advance(9.9)
    w.open()
    assert junk() == ["dropped (too_many_vehicles)"]
    w.clock.advance(0.1)
    assert junk() == ["dropped (not_open)"]


def test_stop_ends_every_trip_and_takes_nothing_any_more() -> None:
    w = World()
    w.open(VEHICLE)
    w.open(OTHER)
    w.intake.stop()
    assert w.kinds == ["open", "open", "shutdown", "shutdown"]
    w.open(VEHICLE)
    w.frame(VEHICLE)
    assert w.intake.views() == {}
    assert w.relayed == []
    assert w.intake.refused == {"shutting_down": 1, "not_open": 1}
    w.intake.stop()
    assert len(w.items) == 4


def test_a_full_house_that_goes_down_leaves_the_trip_to_the_next_one() -> None:
    w = World(max_vehicles=1)
    w.open()
    w.intake.stop()
    assert w.intake.message("open_stream", str(OTHER).encode()) is False


def test_bytes_that_are_no_frame_are_counted_as_such_whether_or_not_a_stream_is_open() -> None:
    w = World()
    w.frame(VEHICLE, b"junk")
    w.frame(VEHICLE)
    assert w.intake.refused == {"not_jpeg": 1, "not_open": 1}


def test_close_from_elsewhere_says_who_and_whether() -> None:
    w = World()
    w.open()
    assert w.intake.close(VEHICLE, "shutdown")
    assert not w.intake.close(VEHICLE, "shutdown")
    assert w.kinds == ["open", "shutdown"]


def test_views_are_copies_oldest_first() -> None:
    w = World()
    w.open(OTHER)
    w.open(VEHICLE)
    views = w.intake.views()
    w.frame(VEHICLE)
    w.frame(VEHICLE, b"junk")
    assert list(views) == [OTHER, VEHICLE]
    assert (views[VEHICLE].frames, views[VEHICLE].dropped) == (0, {})


def test_ends_from_two_threads_end_a_trip_once() -> None:
    w = World(max_vehicles=300)
    vehicles = [uuid.uuid4() for _ in range(300)]
    for vehicle in vehicles:
        w.open(vehicle)
    reasons: list[ClosedBy] = ["shutdown", "idle"]

    def close_all(reason: ClosedBy) -> None:
        for vehicle in vehicles:
            w.intake.close(vehicle, reason)

    threads = [threading.Thread(target=close_all, args=(reason,)) for reason in reasons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended: list[Trip] = [one.trip for one in w.items if one.closed_by]
    assert len(ended) == len(set(ended)) == 300


def test_a_frame_that_could_not_be_relayed_is_looked_at_all_the_same_and_counted() -> None:
    w = World()
    w.open()
    w.relays = False
    w.frame()
    assert w.kinds == ["open", "frame"]
    assert w.intake.refused == {"not_relayed": 1}


def test_a_trip_that_opens_while_the_service_goes_down_is_left_to_the_next_one() -> None:
    w = World()
    assert w.intake.message("open_stream", str(VEHICLE).encode())
    w.intake.stop()
    assert w.intake.message("open_stream", str(VEHICLE).encode()) is False
    assert w.intake.message("close_stream", str(VEHICLE).encode()), "its end is known"
