"""One vehicle: pushes, repeats, trips and what they leave for the flush."""

from __future__ import annotations

import threading
import uuid

import pytest

from actors.records import alert_uuid, object_name, video_uuid
from actors.vehicle import Part, SeenFrame, Vehicle
from models.types import Trip
from tests.builders import CLOSED, OPENED_AT_MS, TINY_JPEG, seen, trip, vehicle_config

TRIP = trip()


def new_vehicle(**changes: float) -> tuple[Vehicle, list[Part]]:
    parts: list[Part] = []
    return Vehicle(vehicle_config(**changes), parts.append), parts


def asleep(first: int, last: int) -> list[SeenFrame]:
    """Frames `first` to `last` inclusive at 10 a second, eyes closed."""
    return [seen(seq, **CLOSED) for seq in range(first, last + 1)]


def flagged_seqs(*parts: Part, of: Trip = TRIP) -> list[int]:
    """Which frames have an alert row."""
    by_uuid = {alert_uuid(of.id, seq): seq for seq in range(1000)}
    return [by_uuid[alert.uuid] for part in parts for alert in part.alerts]


def footage_seqs(*parts: Part) -> list[int]:
    return [frame.seq for part in parts for frame in part.footage]


def test_a_trip_with_nothing_flagged_leaves_nothing() -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, ())
    reply = vehicle.push(TRIP, [seen(seq) for seq in range(30)])
    assert (reply.alerts, reply.flagged, reply.driver_state) == ((), 0, "attentive")
    vehicle.push(TRIP, (), "device")
    assert parts == []
    assert vehicle.trip is None


def test_a_flagged_frame_becomes_footage_and_an_alert_row() -> None:
    vehicle, parts = new_vehicle()
    reply = vehicle.push(TRIP, [seen(0), seen(7, "vape", "bottle", captured_s=0.7504)])
    assert reply.alerts == ("bottle", "vape")
    assert reply.flagged == 1
    assert vehicle.trip == TRIP
    assert parts == [], "the trip goes on"

    vehicle.push(TRIP, (), "device")

    [part] = parts
    assert (part.trip, part.number) == (TRIP, 1)
    assert [frame.seq for frame in part.footage] == [7]
    [alert] = part.alerts
    assert alert.uuid == alert_uuid(TRIP.id, 7)
    assert alert.time_ms == OPENED_AT_MS + 750
    assert (alert.ear, alert.mar, alert.object_detected) == (0.34, 0.4, "bottle, vape")
    assert (alert.sleep_duration, alert.yawning_duration, alert.focus_duration) == (0, 0, 0)


def test_a_condition_is_recorded_with_its_duration() -> None:
    vehicle, parts = new_vehicle()
    assert vehicle.push(TRIP, asleep(0, 9)).alerts == ()
    reply = vehicle.push(TRIP, asleep(10, 12), "device")
    assert reply.alerts == ("sleeping",)
    assert reply.flagged == 3
    assert flagged_seqs(*parts) == [10, 11, 12]
    assert [alert.sleep_duration for alert in parts[0].alerts] == pytest.approx([1.0, 1.1, 1.2])
    assert [alert.object_detected for alert in parts[0].alerts] == [None] * 3


def test_the_texts_of_a_push_are_said_once_each() -> None:
    vehicle, _ = new_vehicle()
    reply = vehicle.push(TRIP, [seen(0, "phone"), seen(1, "bottle", "phone"), *asleep(2, 14)])
    assert reply.alerts == ("phone", "bottle", "sleeping")


def test_a_push_that_is_repeated_is_answered_the_same_and_leaves_the_same() -> None:
    vehicle, parts = new_vehicle()
    frames = [seen(0, "phone"), *asleep(1, 20)]
    first = vehicle.push(TRIP, frames)
    assert vehicle.push(TRIP, frames) == first
    last = vehicle.push(TRIP, [seen(21, "vape")], "device")
    assert vehicle.push(TRIP, [seen(21, "vape")], "device") == last
    assert last.alerts == ("vape",)
    assert last.flagged == first.flagged + 1
    assert footage_seqs(*parts) == flagged_seqs(*parts) == [0, *range(11, 22)]


def test_an_end_without_frames_may_be_repeated() -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.push(TRIP, (), "device")
    vehicle.push(TRIP, (), "device")
    assert vehicle.trip is None
    assert len(parts) == 1


def test_frames_that_were_taken_before_are_left_out() -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(3, "phone"), seen(4, "phone")])
    reply = vehicle.push(TRIP, [seen(3, "phone"), seen(4, "phone"), seen(5, "vape")], "device")
    assert reply.alerts == ("vape",)
    assert reply.flagged == 3
    assert footage_seqs(*parts) == [3, 4, 5]


def test_two_trips_share_nothing() -> None:
    vehicle, parts = new_vehicle()
    second = trip(number=2, opened_at_ms=OPENED_AT_MS + 60_000)
    vehicle.push(TRIP, asleep(0, 15), "device")
    vehicle.push(second, asleep(0, 9), "device")
    vehicle.push(trip(number=3), asleep(0, 10), "device")
    assert [(part.trip, part.number) for part in parts] == [(TRIP, 1), (trip(number=3), 1)]
    assert flagged_seqs(parts[1], of=trip(number=3)) == [10]


def test_a_new_trip_ends_one_whose_end_was_lost() -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.push(trip(number=2), [seen(0, "vape")])
    assert vehicle.trip == trip(number=2)
    assert [part.trip for part in parts] == [TRIP]


def test_a_late_repeat_of_an_ended_trip_opens_nothing() -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone")], "device")
    vehicle.push(TRIP, [seen(0, "phone")])
    assert vehicle.trip is None
    assert len(parts) == 1


def test_close_ends_the_open_trip_and_is_harmless_without_one() -> None:
    vehicle, parts = new_vehicle()
    vehicle.close()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.close()
    vehicle.close()
    assert vehicle.trip is None
    assert footage_seqs(*parts) == [0]


def test_a_trip_whose_gateway_was_silent_for_long_goes_on_in_a_new_part() -> None:
    # The Gateway was alive and its Detectors were not: every frame up to close_stream still belongs to the trip.
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.close()
    reply = vehicle.push(TRIP, [seen(1, "vape")])
    assert reply.alerts == ("vape",)
    assert reply.flagged == 2
    vehicle.push(TRIP, (), "device")
    assert [(part.number, footage_seqs(part)) for part in parts] == [(1, [0]), (2, [1])]


def test_a_long_trip_goes_in_parts() -> None:
    vehicle, parts = new_vehicle(footage_max_bytes=3 * len(TINY_JPEG))
    vehicle.push(TRIP, [seen(seq, "phone") for seq in range(5)])
    assert [part.number for part in parts] == [1], "written before the trip ends"
    vehicle.push(TRIP, [seen(seq, "phone") for seq in range(5, 7)], "device")
    assert [(part.number, footage_seqs(part)) for part in parts] == [(1, [0, 1, 2]), (2, [3, 4, 5]), (3, [6])]
    assert [flagged_seqs(part) for part in parts] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_trip_that_fills_its_parts_exactly_has_no_empty_one() -> None:
    vehicle, parts = new_vehicle(footage_max_bytes=3 * len(TINY_JPEG))
    vehicle.push(TRIP, [seen(seq, "phone") for seq in range(6)], "device")
    assert [part.number for part in parts] == [1, 2]


def test_rolls_are_footage_without_alert_rows() -> None:
    vehicle, parts = new_vehicle(pre_roll_s=0.3, post_roll_s=0.2)
    frames = [seen(seq, "phone") if seq == 10 else seen(seq) for seq in range(20)]
    vehicle.push(TRIP, frames[:12])
    reply = vehicle.push(TRIP, frames[12:], "idle")
    assert footage_seqs(*parts) == [7, 8, 9, 10, 11, 12]
    assert flagged_seqs(*parts) == [10]
    assert reply.flagged == 1


def test_rolls_go_on_over_the_border_of_parts() -> None:
    vehicle, parts = new_vehicle(pre_roll_s=0.3, post_roll_s=0.3, footage_max_bytes=4 * len(TINY_JPEG))
    frames = [seen(seq, "phone") if seq == 10 else seen(seq) for seq in range(20)]
    vehicle.push(TRIP, frames, "device")
    assert [footage_seqs(part) for part in parts] == [[7, 8, 9, 10], [11, 12, 13]]
    assert [flagged_seqs(part) for part in parts] == [[10], []]


def test_names_are_derived_from_the_trip() -> None:
    assert object_name(TRIP, 1) == f"2025-12-31/{TRIP.vehicle}-{TRIP.id}.mp4"
    assert object_name(TRIP, 2) == f"2025-12-31/{TRIP.vehicle}-{TRIP.id}-2.mp4"
    names = [
        *(video_uuid(TRIP.id, part) for part in range(1, 50)),
        *(alert_uuid(TRIP.id, seq) for seq in range(50)),
        video_uuid(trip(number=2).id, 1),
        alert_uuid(trip(number=2).id, 0),
    ]
    assert len(set(names)) == len(names)
    assert video_uuid(uuid.UUID(str(TRIP.id)), 1) == video_uuid(TRIP.id, 1)


def test_a_frame_of_an_unknown_kind_does_not_come_back_for_ever() -> None:
    vehicle, parts = new_vehicle()
    frames = [seen(0, "phone"), seen(1, pack="of the future"), seen(2, "vape")]
    with pytest.raises(KeyError):
        vehicle.push(TRIP, frames)
    vehicle.push(TRIP, frames, "device")
    assert footage_seqs(*parts) == [0, 2]


def test_a_trip_is_never_gone_before_its_part_is_handed_over() -> None:
    # The actor ends itself when no trip is open and nothing is to flush: between the two the part would be lost.
    glimpses: list[Trip | None] = []
    during: list[list[Trip | None]] = []

    def look() -> None:
        glimpses.append(vehicle.trip)

    def flush(_part: Part) -> None:
        other = threading.Thread(target=look, daemon=True)
        other.start()
        other.join(0.05)  # it may wait for the lock, which is as good
        during.append(list(glimpses))

    vehicle = Vehicle(vehicle_config(), flush)
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.close()
    assert during in ([[]], [[TRIP]]), "no trip is open and its part is not yet with the flush"
