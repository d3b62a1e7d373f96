"""One vehicle: pushes, repeats, trips, what they leave for the flush, and what outlives the process."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.journal import Journal
from actors.journal_records import Progress
from actors.records import AlertRecord, alert_uuid, event_uuid, object_name, video_uuid
from actors.vehicle import SeenFrame, Vehicle
from models.types import ClosedBy, Frame, Label, Trip
from tests.builders import AWAY, CLOSED, OPENED_AT_MS, TINY_JPEG, seen, trip, vehicle_config, vehicle_id

TRIP = trip()


@dataclass(frozen=True, slots=True)
class Part:
    """What a journal holds at its end, read back."""

    trip: Trip
    number: int
    footage: tuple[Frame, ...]
    alerts: tuple[AlertRecord, ...]
    closed_by: ClosedBy | None
    recovered: bool


class Life:
    """The lives of one vehicle's processes over one folder, and the parts that they would flush."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.config = vehicle_config(**changes)
        self.parts: list[Part] = []
        self.journals: list[Journal] = []

    def vehicle(self) -> Vehicle:
        """The vehicle in a new process."""
        return Vehicle(vehicle_id(), self.config, self.folder, self._flush)

    def killed(self, vehicle: Vehicle) -> Vehicle:
        """The vehicle in the process after one that was killed: all that it held is gone, and its locks."""
        if vehicle._open:  # noqa: SLF001 - what the kernel would do
            vehicle._open.journal.release()  # noqa: SLF001
        for journal in self.journals:
            journal.release()
        self.parts.clear()
        return self.vehicle()

    def stored(self) -> None:
        """The flush of all parts is done."""
        for journal in self.journals:
            journal.remove()

    def _flush(self, journal: Journal) -> None:
        summary = journal.summary
        assert summary.ended
        footage, alerts = tuple(journal.footage()), tuple(journal.alerts())
        assert (summary.pictures, summary.rows) == (len(footage), len(alerts))
        self.journals.append(journal)
        closed_by = summary.ended.closed_by
        self.parts.append(Part(summary.trip, summary.part, footage, alerts, closed_by, journal.recovered))


NewVehicle = Callable[..., tuple[Vehicle, list[Part]]]


@pytest.fixture
def new_vehicle(tmp_path: Path) -> NewVehicle:
    def make(**changes: float) -> tuple[Vehicle, list[Part]]:
        life = Life(tmp_path, **changes)
        return life.vehicle(), life.parts

    return make


def asleep(first: int, last: int) -> list[SeenFrame]:
    """Frames `first` to `last` inclusive at 10 a second, eyes closed."""
    return [seen(seq, **CLOSED) for seq in range(first, last + 1)]


def flagged_seqs(*parts: Part, of: Trip = TRIP) -> list[int]:
    """Which frames have an alert row."""
    by_uuid = {alert_uuid(of.id, seq): seq for seq in range(1000)}
    return [by_uuid[alert.uuid] for part in parts for alert in part.alerts]


def footage_seqs(*parts: Part) -> list[int]:
    return [frame.seq for part in parts for frame in part.footage]


def test_a_trip_with_nothing_flagged_leaves_its_end_alone(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, ())
    reply = vehicle.push(TRIP, [seen(seq) for seq in range(30)])
    assert (reply.alerts, reply.flagged, reply.driver_state) == ((), 0, "attentive")
    vehicle.push(TRIP, (), "device")
    assert [(part.footage, part.alerts, part.closed_by) for part in parts] == [((), (), "device")]
    assert vehicle.trip is None


def test_a_flagged_frame_becomes_footage_and_an_alert_row(new_vehicle: NewVehicle) -> None:
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


def test_a_condition_is_recorded_with_its_duration(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    assert vehicle.push(TRIP, asleep(0, 9)).alerts == ()
    reply = vehicle.push(TRIP, asleep(10, 12), "device")
    assert reply.alerts == ("sleeping",)
    assert reply.flagged == 3
    assert flagged_seqs(*parts) == [10, 11, 12]
    assert [alert.sleep_duration for alert in parts[0].alerts] == pytest.approx([1.0, 1.1, 1.2])
    assert [alert.object_detected for alert in parts[0].alerts] == [None] * 3


def test_the_texts_of_a_push_are_said_once_each(new_vehicle: NewVehicle) -> None:
    vehicle, _ = new_vehicle()
    reply = vehicle.push(TRIP, [seen(0, "phone"), seen(1, "bottle", "phone"), *asleep(2, 14)])
    assert reply.alerts == ("phone", "bottle", "sleeping")


def test_a_push_without_new_frames_alerts_to_nothing(new_vehicle: NewVehicle) -> None:
    vehicle, _ = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone"), seen(1, "phone")])
    assert vehicle.push(TRIP, ()).alerts == ()
    assert vehicle.push(TRIP, [seen(0, "phone")]).alerts == ()


def test_a_push_that_is_repeated_is_answered_the_same_and_leaves_the_same(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    frames = [seen(0, "phone"), *asleep(1, 20)]
    first = vehicle.push(TRIP, frames)
    assert vehicle.push(TRIP, frames) == first
    last = vehicle.push(TRIP, [seen(21, "vape")], "device")
    assert vehicle.push(TRIP, [seen(21, "vape")], "device") == last
    assert last.alerts == ("vape",)
    assert last.flagged == first.flagged + 1
    assert footage_seqs(*parts) == flagged_seqs(*parts) == [0, *range(11, 22)]


def test_an_end_without_frames_may_be_repeated(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.push(TRIP, (), "device")
    vehicle.push(TRIP, (), "device")
    assert vehicle.trip is None
    assert len(parts) == 1


def test_frames_that_were_taken_before_are_left_out(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(3, "phone"), seen(4, "phone")])
    reply = vehicle.push(TRIP, [seen(3, "phone"), seen(4, "phone"), seen(5, "vape")], "device")
    assert reply.alerts == ("vape",)
    assert reply.flagged == 3
    assert footage_seqs(*parts) == [3, 4, 5]


def test_two_trips_share_nothing(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    second = trip(number=2, opened_at_ms=OPENED_AT_MS + 60_000)
    vehicle.push(TRIP, asleep(0, 15), "device")
    vehicle.push(second, asleep(0, 9), "device")
    vehicle.push(trip(number=3), asleep(0, 10), "device")
    assert [(part.trip, part.number) for part in parts] == [(TRIP, 1), (second, 1), (trip(number=3), 1)]
    assert [len(part.alerts) for part in parts] == [6, 0, 1]
    assert flagged_seqs(parts[2], of=trip(number=3)) == [10]


def test_a_new_trip_ends_one_whose_end_was_lost(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.push(trip(number=2), [seen(0, "vape")])
    assert vehicle.trip == trip(number=2)
    assert [(part.trip, part.closed_by) for part in parts] == [(TRIP, "orphaned")]


def test_a_late_repeat_of_an_ended_trip_opens_nothing(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0, "phone")], "device")
    vehicle.push(TRIP, [seen(0, "phone")])
    assert vehicle.trip is None
    assert len(parts) == 1


def test_a_trip_whose_gateway_is_silent_is_suspended_and_goes_on_with_the_next_push(new_vehicle: NewVehicle) -> None:
    # The Gateway was alive and its Detectors were not: every frame up to close_stream still belongs to the trip.
    vehicle, parts = new_vehicle()
    vehicle.suspend()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle.suspend()
    vehicle.suspend()
    assert vehicle.trip is None, "its actor may end"
    assert [footage_seqs(part) for part in parts] == [[0]], "what it has is stored meanwhile"
    assert vehicle.standing
    assert vehicle.standing[0] == TRIP, "a new Gateway goes on with it"
    reply = vehicle.push(TRIP, [seen(1, "vape")])
    assert reply.alerts == ("vape",)
    assert reply.flagged == 2
    vehicle.push(TRIP, (), "device")
    assert [(part.number, footage_seqs(part), part.closed_by) for part in parts] == [(1, [0], None), (2, [1], "device")]


def test_a_suspended_trip_is_over_when_another_one_begins(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0)])
    vehicle.suspend()
    vehicle.push(trip(number=2), [seen(0)], "device")
    assert [(part.trip, part.closed_by) for part in parts] == [(TRIP, "orphaned"), (trip(number=2), "device")]


def test_frames_after_the_end_of_their_trip_are_said(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    vehicle.push(TRIP, [seen(0), seen(1)], "device")
    assert vehicle.push(TRIP, [seen(0), seen(1)]).not_taken == 0, "a repeat"
    assert vehicle.push(TRIP, [seen(1), seen(2, "phone"), seen(3)]).not_taken == 2
    assert len(parts) == 1


def test_a_long_trip_goes_in_parts(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle(footage_max_bytes=3 * len(TINY_JPEG))
    for seq in range(5):
        vehicle.push(TRIP, [seen(seq, "phone")])
    assert [(part.number, part.closed_by) for part in parts] == [(1, None)], "written before the trip ends"
    vehicle.push(TRIP, [seen(5, "phone")])
    vehicle.push(TRIP, [seen(6, "phone")], "device")
    assert [(part.number, footage_seqs(part)) for part in parts] == [(1, [0, 1, 2]), (2, [3, 4, 5]), (3, [6])]
    assert [flagged_seqs(part) for part in parts] == [[0, 1, 2], [3, 4, 5], [6]]
    assert parts[-1].closed_by == "device"


def test_a_push_is_never_torn_between_two_parts(new_vehicle: NewVehicle) -> None:
    # It is one record: either all of it is in the journal or, with its answer, none.
    vehicle, parts = new_vehicle(footage_max_bytes=3 * len(TINY_JPEG))
    vehicle.push(TRIP, [seen(seq, "phone") for seq in range(5)])
    vehicle.push(TRIP, (), "device")
    assert [footage_seqs(part) for part in parts] == [[0, 1, 2, 3, 4], []]


def test_rolls_are_footage_without_alert_rows(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle(pre_roll_s=0.3, post_roll_s=0.2)
    frames = [seen(seq, "phone") if seq == 10 else seen(seq) for seq in range(20)]
    vehicle.push(TRIP, frames[:12])
    reply = vehicle.push(TRIP, frames[12:], "idle")
    assert footage_seqs(*parts) == [7, 8, 9, 10, 11, 12]
    assert flagged_seqs(*parts) == [10]
    assert reply.flagged == 1


def test_rolls_go_on_over_the_border_of_parts(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle(pre_roll_s=0.3, post_roll_s=0.3, footage_max_bytes=4 * len(TINY_JPEG))
    frames = [seen(seq, "phone") if seq == 10 else seen(seq) for seq in range(20)]
    for one in frames:
        vehicle.push(TRIP, [one])
    vehicle.push(TRIP, (), "device")
    assert [footage_seqs(part) for part in parts] == [[7, 8, 9, 10], [11, 12, 13]]
    assert [flagged_seqs(part) for part in parts] == [[10], []]


def test_names_are_derived_from_the_trip(new_vehicle: NewVehicle) -> None:
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


def test_a_frame_of_an_unknown_kind_does_not_come_back_for_ever(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle()
    frames = [seen(0, "phone"), seen(1, pack="of the future"), seen(2, "vape")]
    with pytest.raises(KeyError):
        vehicle.push(TRIP, frames)
    vehicle.push(TRIP, frames, "device")
    assert footage_seqs(*parts) == [0, 2]


def test_a_trip_is_never_gone_before_its_part_is_handed_over(tmp_path: Path) -> None:
    # The actor ends itself when no trip is open and nothing is to flush: between the two the part would be lost.
    glimpses: list[Trip | None] = []
    during: list[list[Trip | None]] = []

    def look() -> None:
        glimpses.append(vehicle.trip)

    def flush(_part: Journal) -> None:
        other = threading.Thread(target=look, daemon=True)
        other.start()
        other.join(0.05)  # it may wait for the lock, which is as good
        during.append(list(glimpses))

    vehicle = Vehicle(vehicle_id(), vehicle_config(), tmp_path, flush)
    vehicle.push(TRIP, [seen(0, "phone")], "device")
    assert during in ([[]], [[TRIP]]), "no trip is open and its part is not yet with the flush"


def test_a_vehicle_that_is_killed_goes_on_with_its_trip(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(0, "phone"), seen(1)])
    vehicle = life.killed(vehicle)
    assert vehicle.trip == TRIP
    reply = vehicle.push(TRIP, [seen(2, "vape")])
    assert (reply.alerts, reply.flagged) == (("vape",), 2)
    vehicle.push(TRIP, (), "device")
    [part] = life.parts
    assert (footage_seqs(part), flagged_seqs(part)) == ([0, 2], [0, 2])
    assert (part.number, part.closed_by, part.recovered) == (1, "device", False)


@pytest.mark.parametrize("killed_after", range(1, 25))
def test_a_condition_lasts_on_through_a_kill(tmp_path: Path, killed_after: int) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    for one in asleep(0, 24):
        vehicle.push(TRIP, [one])
        if one.frame.seq + 1 == killed_after:
            vehicle = life.killed(vehicle)
    vehicle.push(TRIP, (), "device")
    [part] = life.parts
    assert flagged_seqs(part) == list(range(10, 25))
    assert [alert.sleep_duration for alert in part.alerts] == pytest.approx([seq / 10 for seq in range(10, 25)])


def test_the_alert_of_a_push_whose_answer_was_lost_is_heard_when_it_is_repeated(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    frames = [seen(0, "phone"), seen(1, "vape")]
    lost = vehicle.push(TRIP, frames)
    vehicle = life.killed(vehicle)
    assert vehicle.push(TRIP, frames) == lost
    vehicle.push(TRIP, (), "device")
    assert footage_seqs(*life.parts) == [0, 1]


def test_a_closing_push_may_be_repeated_after_a_kill(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(0, "phone")], "device")
    vehicle = life.killed(vehicle)
    assert vehicle.push(TRIP, [seen(0, "phone")], "device").alerts == ("phone",), "an alert is lost with its answer"
    assert vehicle.trip is None
    assert [(footage_seqs(part), part.closed_by, part.recovered) for part in life.parts] == [([0], "device", True)]


def test_frames_before_the_kill_are_known_by_trip_and_seq(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(0, "phone"), seen(1, "phone")])
    vehicle = life.killed(vehicle)
    reply = vehicle.push(TRIP, [seen(0, "phone"), seen(1, "phone"), seen(2, "phone")], "device")
    assert reply.flagged == 3
    assert footage_seqs(*life.parts) == [0, 1, 2]


def test_a_trip_that_nobody_asks_for_is_finished_as_recovered(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle = life.killed(vehicle)
    vehicle.finish_left_behind()
    vehicle.finish_left_behind()
    assert [(footage_seqs(part), part.closed_by, part.recovered) for part in life.parts] == [([0], "recovered", True)]


def test_a_trip_that_goes_on_is_not_finished_by_who_looks_for_what_was_left(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle = life.killed(vehicle)
    vehicle.push(TRIP, ())
    vehicle.finish_left_behind(TRIP)
    assert vehicle.trip == TRIP


def test_a_trip_that_only_its_gateway_knew_has_an_end_beside_the_open_one(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(trip(number=2), [seen(0, "phone")])
    for _ in range(2):
        vehicle.finish_left_behind(TRIP)
    assert vehicle.trip == trip(number=2)
    assert [(part.trip, part.footage, part.closed_by) for part in life.parts] == [(TRIP, (), "recovered")]


def test_a_new_trip_finishes_what_was_left_open(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle = life.killed(vehicle)
    vehicle.push(trip(number=2), [seen(0, "vape")])
    assert [(part.trip, part.closed_by) for part in life.parts] == [(TRIP, "recovered")]
    assert vehicle.trip == trip(number=2)


def test_parts_that_were_not_flushed_are_flushed_by_the_next_process(tmp_path: Path) -> None:
    life = Life(tmp_path, footage_max_bytes=2 * len(TINY_JPEG))
    vehicle = life.vehicle()
    for seq in range(5):
        vehicle.push(TRIP, [seen(seq, "phone")])
    vehicle = life.killed(vehicle)
    assert [(part.number, footage_seqs(part), part.closed_by) for part in life.parts] == [
        (1, [0, 1], None),
        (2, [2, 3], None),
    ]
    vehicle.push(TRIP, [seen(5, "phone")], "device")
    assert [(part.number, footage_seqs(part)) for part in life.parts[2:]] == [(3, [4, 5])]


def test_parts_are_numbered_on_when_those_before_are_stored(tmp_path: Path) -> None:
    life = Life(tmp_path, footage_max_bytes=2 * len(TINY_JPEG))
    vehicle = life.vehicle()
    for seq in range(4):
        vehicle.push(TRIP, [seen(seq, "phone")])
    life.stored()
    vehicle = life.killed(vehicle)
    vehicle.push(TRIP, [seen(1, "phone"), seen(4, "phone")], "device")
    assert [(part.number, footage_seqs(part)) for part in life.parts] == [(3, [4])]


def test_a_clock_that_was_set_back_between_two_trips_ends_neither(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(trip(number=1), [seen(0, "phone")], "device")
    later = trip(number=2, opened_at_ms=OPENED_AT_MS - 3_600_000)
    vehicle.push(later, [seen(0, "phone")])
    vehicle = life.killed(vehicle)
    assert vehicle.trip == later
    vehicle.push(later, [seen(1, "phone")], "device")
    assert [(part.trip.id, footage_seqs(part)) for part in life.parts] == [(TRIP.id, [0]), (later.id, [0, 1])]


def test_a_journal_that_cannot_be_read_is_kept_aside_and_the_trip_begins(tmp_path: Path) -> None:
    path = tmp_path / f"{vehicle_id()}.{TRIP.id}.1.journal"
    path.write_bytes(b"something else altogether")
    life = Life(tmp_path)
    vehicle = life.vehicle()
    assert path.with_name(path.name + ".unreadable").read_bytes() == b"something else altogether"
    vehicle.push(TRIP, [seen(0, "phone")], "device")
    assert footage_seqs(*life.parts) == [0]


@pytest.mark.parametrize("cut_to", [0, 3, 8])
def test_a_journal_that_was_only_just_made_is_gone_without_a_trace(tmp_path: Path, cut_to: int) -> None:
    Journal.create(tmp_path, TRIP, 1, Progress()).release()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:cut_to])
    vehicle = Life(tmp_path).vehicle()
    assert list(tmp_path.iterdir()) == []
    assert vehicle.trip is None


def test_a_journal_that_another_process_holds_is_left_alone_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    other = Life(tmp_path)
    held = other.vehicle()
    held.push(TRIP, [seen(0, "phone")])
    life = Life(tmp_path)
    vehicle = life.vehicle()
    assert vehicle.trip is None
    vehicle.push(TRIP, [seen(1, "phone")], "device")
    assert [part.number for part in life.parts] == [2]
    held.push(TRIP, (), "device")
    assert [(part.number, footage_seqs(part)) for part in other.parts] == [(1, [0])]


def test_the_count_of_a_calm_trip_is_right_at_its_end_and_to_ten_seconds_after_a_kill(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    for seq in range(250):
        vehicle.push(TRIP, [seen(seq)])
    standing = life.killed(vehicle).standing
    assert standing
    assert 150 <= standing[1].frames <= 250
    trace_bytes = 250 * 90
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3000 + trace_bytes


def test_a_suspended_trip_goes_on_in_the_next_process(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(seq, "phone") for seq in range(5)])
    vehicle.suspend()
    vehicle.release()
    life.stored()
    vehicle = life.killed(vehicle)
    vehicle.push(TRIP, [seen(4, "phone"), seen(5, "phone")], "device")
    assert [(part.number, footage_seqs(part)) for part in life.parts] == [(2, [5])], "part 1 is stored under its name"


def test_a_process_that_knows_nothing_of_a_trip_uses_no_name_again(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()  # on another node than the journals
    vehicle.push(TRIP, [seen(9, "phone")], after_part=3)
    assert vehicle.push(TRIP, (), "device", after_part=4).part == 4
    assert [part.number for part in life.parts] == [4]


def test_a_part_whose_successor_never_reached_the_disk_goes_on_in_a_new_one(tmp_path: Path) -> None:
    life = Life(tmp_path, footage_max_bytes=1)
    vehicle = life.vehicle()
    vehicle.push(TRIP, [seen(0, "phone")])
    vehicle._open.journal.release()  # type: ignore[union-attr]  # noqa: SLF001 - a power cut
    (tmp_path / f"{vehicle_id()}.{TRIP.id}.2.journal").write_bytes(b"")
    vehicle = life.killed(vehicle)
    assert vehicle.trip == TRIP
    vehicle.push(TRIP, [seen(1, "phone")], "device")
    assert [(part.number, footage_seqs(part), part.closed_by) for part in life.parts] == [
        (1, [0], None),
        (2, [1], "device"),
    ]


def test_a_trip_that_is_open_is_not_ended_for_another_that_was_left(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(trip(number=2), [seen(0, "phone")])
    vehicle = life.killed(vehicle)  # and nobody has pushed to it since
    vehicle.finish_left_behind(TRIP)
    assert vehicle.trip == trip(number=2)


def test_of_two_trips_without_an_end_the_one_with_frames_goes_on(tmp_path: Path) -> None:
    life = Life(tmp_path)
    vehicle = life.vehicle()
    vehicle.push(trip(number=2), [seen(0, "phone")])
    empty = Journal.create(tmp_path, TRIP, 1, Progress())  # killed in the middle of `finish_left_behind`
    empty.release()
    vehicle = life.killed(vehicle)
    assert vehicle.trip == trip(number=2)
    assert [(part.trip, part.closed_by) for part in life.parts] == [(TRIP, "recovered")]


def seconds_of(start: int, end: int, *labels: Label, **changes: Any) -> list[SeenFrame]:
    """The frames from second to second, at 10 a second."""
    return [seen(seq, *labels, **changes) for seq in range(10 * start, 10 * end)]


def test_an_event_is_said_as_it_begins_gets_worse_and_ends(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle(profile="default")
    assert vehicle.push(TRIP, seconds_of(0, 3)).events == ()
    [begun] = vehicle.push(TRIP, seconds_of(3, 5, **CLOSED)).events
    assert (begun.uuid, begun.kind, begun.ended_ms) == (event_uuid(TRIP.id, 1), "microsleep", None)
    assert begun.started_ms == OPENED_AT_MS + 3000
    assert (begun.policy, begun.vehicle, begun.trip) == ("default@2", TRIP.vehicle, TRIP.id)
    [worse] = vehicle.push(TRIP, seconds_of(5, 7, **CLOSED)).events
    [ended] = vehicle.push(TRIP, seconds_of(7, 9)).events
    assert (worse.uuid, worse.kind, ended.uuid, ended.kind) == (begun.uuid, "sleep", begun.uuid, "sleep")
    assert ended.ended_ms == OPENED_AT_MS + 7000
    assert vehicle.push(TRIP, (), "device").events == ()
    assert len(parts) == 1


def test_what_runs_at_the_end_of_a_trip_ends_with_it_and_is_said_again_when_the_push_is_repeated(
    new_vehicle: NewVehicle,
) -> None:
    vehicle, _ = new_vehicle(profile="default")
    vehicle.push(TRIP, seconds_of(0, 3))
    vehicle.push(TRIP, seconds_of(3, 6, "phone"))
    [ended] = vehicle.push(TRIP, (), "device").events
    assert (ended.kind, ended.ended_ms) == ("phone_use", OPENED_AT_MS + 5900)
    assert vehicle.push(TRIP, (), "device").events == (ended,)


def test_frames_of_an_event_of_medium_severity_are_flagged(new_vehicle: NewVehicle) -> None:
    vehicle, parts = new_vehicle(profile="default")
    away_and_back = [
        frame for n in range(5) for frame in (*seconds_of(4 * n, 4 * n + 1), *seconds_of(4 * n + 1, 4 * n + 4, **AWAY))
    ]
    events = vehicle.push(TRIP, away_and_back).events
    vats = next(event for event in events if event.kind == "distraction_vats")
    vehicle.push(TRIP, seconds_of(20, 26), "device")
    first = round((vats.started_ms - OPENED_AT_MS) / 100)
    assert first == 10, "its sum began with the first look away"
    [part] = parts
    assert 165 in footage_seqs(part), "forward for a moment, while the event runs"
    assert 230 not in footage_seqs(part)


def test_an_event_goes_on_through_a_kill_under_the_same_id(tmp_path: Path) -> None:
    life = Life(tmp_path, profile="default")
    vehicle = life.vehicle()
    vehicle.push(TRIP, seconds_of(0, 3))
    [begun] = vehicle.push(TRIP, seconds_of(3, 5, **CLOSED)).events
    vehicle = life.killed(vehicle)
    assert vehicle.push(TRIP, seconds_of(3, 5, **CLOSED)).events == (begun,), "the answer may have been lost"
    [worse] = vehicle.push(TRIP, seconds_of(5, 7, **CLOSED)).events
    assert (worse.uuid, worse.kind, worse.started_ms) == (begun.uuid, "sleep", begun.started_ms)
    vehicle.push(TRIP, (), "device")
    assert [event.kind for event in life.journals[-1].summary.events.values()] == ["sleep"]
