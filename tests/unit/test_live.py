"""Those who watch a vehicle: everything that is said, the latest that is shown, whatever they take their time for."""

from __future__ import annotations

import asyncio
import json
import uuid
import zlib
from base64 import b64encode

from actors.records import event_message
from serve_app.live import GROUP_BYTES, LATE_FRAMES, LATE_GROUPS, SAID, SENT, FleetWatcher, Watcher, pack
from tests.builders import make_event, trip
from tests.fakes.live import FakeReader

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
EVENT = json.dumps(event_message(make_event(trip())))
CONNECTED = json.dumps({"broker": "connected"})
DISCONNECTED = json.dumps({"broker": "disconnected"})


async def soon(watcher: Watcher | FleetWatcher) -> bytes | str:
    """What is next, which must be there."""
    return await asyncio.wait_for(watcher.next(), 1)


async def nothing(watcher: Watcher | FleetWatcher) -> bool:
    """Whether nothing is to be sent."""
    try:
        await asyncio.wait_for(watcher.next(), 0.02)
    except TimeoutError:
        return True
    return False


def test_frames_events_and_alerts_of_one_vehicle() -> None:
    async def story() -> None:
        reader = FakeReader()
        live = reader.live()
        with live.watch(ONE) as watcher:
            assert await soon(watcher) == DISCONNECTED
            reader.note("connected")
            assert await soon(watcher) == CONNECTED
            reader.hear(f"base64/{ONE}", b64encode(b"jpeg"))
            assert await soon(watcher) == b"jpeg"
            reader.hear(f"event/{ONE}", EVENT.encode())
            reader.hear(f"alert/{ONE}", b"sleeping")
            assert [await soon(watcher), await soon(watcher)] == [EVENT, '{"alert": "sleeping"}']
            reader.hear(f"base64/{OTHER}", b64encode(b"other"))
            reader.note("connected")
            assert await nothing(watcher)

    asyncio.run(story())


def test_what_only_looks_like_ours_is_shown_to_nobody() -> None:
    async def story() -> None:
        reader = FakeReader()
        with reader.live().watch(ONE) as watcher:
            await soon(watcher)
            reader.hear(f"base64/{ONE}", b"no base64")
            reader.hear(f"base64/{ONE}", b"")
            reader.hear(f"alert/{ONE}", b"\xff\xfe")
            event = json.loads(EVENT)
            for spoilt in ({"kind": 5}, {"peak": None}, {"peak": {"s": "x"}}, {"observations": 1}, {"broker": "x"}):
                reader.hear(f"event/{ONE}", json.dumps(event | spoilt).encode())
            for junk in (b"null", b"[]", b"{", b"7", b'{"id": "x", "kind": "yawn"}'):
                reader.hear(f"event/{ONE}", junk)
            assert await nothing(watcher)

    asyncio.run(story())


def test_topics_are_read_while_somebody_watches() -> None:
    async def story() -> None:
        reader = FakeReader()
        live = reader.live()
        assert (reader.opened, live.watchers) == (0, 0)
        with live.watch(ONE) as first, live.watch(ONE) as second, live.watch(OTHER):
            assert live.watchers == 3
            assert reader.wanted[f"base64/{ONE}"] == 2
            reader.hear(f"base64/{ONE}", b64encode(b"jpeg"))
            for watcher in (first, second):
                assert await soon(watcher) == DISCONNECTED
                assert await soon(watcher) == b"jpeg"
        assert (reader.opened, live.watchers) == (1, 0)
        assert reader.wanted == {}

    asyncio.run(story())


def test_who_does_not_take_frames_gets_the_latest_when_it_does() -> None:
    async def story() -> None:
        watcher = Watcher()
        for number in range(100):
            watcher.show(b"%d" % number)
        assert await soon(watcher) == b"99"
        assert await nothing(watcher)

    asyncio.run(story())


def test_who_says_what_came_has_no_more_than_a_few_on_the_way() -> None:
    async def story() -> None:
        watcher = Watcher()
        watcher.show(b"first")
        assert await soon(watcher) == b"first"
        watcher.came()
        for number in range(LATE_FRAMES):
            watcher.show(b"%d" % number)
            assert await soon(watcher) == b"%d" % number
        watcher.show(b"late")
        watcher.show(b"later")
        assert await nothing(watcher)
        watcher.say("said all the same")
        assert await soon(watcher) == "said all the same"
        watcher.came()
        assert await soon(watcher) == b"later"
        assert await nothing(watcher)

    asyncio.run(story())


def test_what_is_said_to_the_deaf_does_not_pile_up() -> None:
    async def story() -> None:
        watcher = Watcher()
        for number in range(10 * SAID):
            watcher.say(str(number))
        said = [await soon(watcher) for _ in range(SAID)]
        assert said == [str(number) for number in range(9 * SAID, 10 * SAID)]
        assert await nothing(watcher)

    asyncio.run(story())


def test_a_state_is_told_to_all_once() -> None:
    async def story() -> None:
        reader = FakeReader()
        live = reader.live()
        with live.watch(ONE) as one, live.watch(OTHER) as other:
            for state in ("connected", "connected", "refused: not authorised"):
                reader.note(state)
            for watcher in (one, other):
                assert [await soon(watcher) for _ in range(3)] == [
                    json.dumps({"broker": state}) for state in ("disconnected", "connected", "refused: not authorised")
                ]
                assert await nothing(watcher)

    asyncio.run(story())


def test_what_was_seen_waits_while_too_many_frames_are_on_their_way() -> None:
    async def story() -> None:
        watcher = Watcher()
        watcher.came()  # it is one who says so
        for number in range(LATE_FRAMES):
            watcher.show(b"%d" % number)
            assert await soon(watcher) == b"%d" % number
        watcher.observe(zlib.crc32(b"1"), {"n": 1})
        watcher.observe(zlib.crc32(b"unknown"), {"n": 2})
        assert await nothing(watcher)
        watcher.came()
        found = json.loads(await soon(watcher))
        assert found == {"observations": [{"frame": 2, "n": 1}, {"frame": None, "n": 2}]}
        watcher.show(b"next")
        assert await soon(watcher) == b"next"

    asyncio.run(story())


def test_frames_of_long_ago_are_not_known_again() -> None:
    async def story() -> None:
        watcher = Watcher()
        for number in range(SENT + 1):
            watcher.show(b"%d" % number)
            await soon(watcher)
        watcher.observe(zlib.crc32(b"0"), {})
        watcher.observe(zlib.crc32(b"1"), {})
        assert [one["frame"] for one in json.loads(await soon(watcher))["observations"]] == [None, 2]

    asyncio.run(story())


def test_a_group_is_one_frame_after_another() -> None:
    frames = {ONE: b"jpeg", OTHER: b"other"}
    assert pack(frames) == ONE.bytes + b"\0\0\0\4jpeg" + OTHER.bytes + b"\0\0\0\5other"


def test_a_fleets_watcher_gets_the_latest_of_those_it_chose_together() -> None:
    async def story() -> None:
        reader = FakeReader()
        live = reader.live()
        with live.watch_fleet() as fleet:
            assert await soon(fleet) == DISCONNECTED
            live.choose(fleet, [ONE, OTHER, ONE])
            assert set(reader.wanted.elements()) == {f"base64/{ONE}", f"base64/{OTHER}"}
            reader.note("connected")
            assert await soon(fleet) == CONNECTED
            for jpeg in (b"old", b"new"):
                reader.hear(f"base64/{ONE}", b64encode(jpeg))
            reader.hear(f"base64/{OTHER}", b64encode(b"other"))
            await asyncio.sleep(0)
            assert await soon(fleet) == pack({ONE: b"new", OTHER: b"other"})
            reader.hear(f"base64/{ONE}", b64encode(b"not wanted any more"))
            await asyncio.sleep(0)
            live.choose(fleet, [OTHER])
            reader.hear(f"base64/{ONE}", b64encode(b"nor this"))
            assert set(reader.wanted) == {f"base64/{OTHER}"}
            assert await nothing(fleet)
        assert (reader.wanted, live.watchers) == ({}, 0)

    asyncio.run(story())


def test_a_fleets_watcher_hears_nothing_of_what_others_watch_in_full() -> None:
    async def story() -> None:
        reader = FakeReader()
        live = reader.live()
        with live.watch(ONE) as one, live.watch_fleet() as fleet:
            live.choose(fleet, [ONE])
            for watcher in (one, fleet):
                assert await soon(watcher) == DISCONNECTED
            reader.hear(f"alert/{ONE}", b"sleeping")
            assert await soon(one) == '{"alert": "sleeping"}'
            assert await nothing(fleet)
            live.choose(fleet, [])
            assert reader.wanted[f"base64/{ONE}"] == 1
            reader.hear(f"base64/{ONE}", b64encode(b"jpeg"))
            assert await soon(one) == b"jpeg"
            assert await nothing(fleet)

    asyncio.run(story())


def test_a_fleets_watcher_has_no_more_than_a_few_groups_on_the_way() -> None:
    async def story() -> None:
        fleet = FleetWatcher()
        for number in range(LATE_GROUPS):
            fleet.show(ONE, b"%d" % number)
            assert await soon(fleet) == pack({ONE: b"%d" % number})
        fleet.show(ONE, b"late")
        assert await nothing(fleet)
        fleet.say("said all the same")
        assert await soon(fleet) == "said all the same"
        fleet.came()
        assert await soon(fleet) == pack({ONE: b"late"})

    asyncio.run(story())


def test_a_group_is_no_bigger_than_it_may_be_and_nobody_waits_for_ever() -> None:
    async def story() -> None:
        fleet = FleetWatcher()
        big = bytes(GROUP_BYTES // 2)
        vehicles = [uuid.UUID(int=number) for number in range(1, 6)]
        for vehicle in vehicles:
            fleet.show(vehicle, big)
        assert await soon(fleet) == pack(dict.fromkeys(vehicles[:2], big))
        for vehicle in vehicles:
            fleet.show(vehicle, big)
        assert await soon(fleet) == pack(dict.fromkeys(vehicles[2:4], big))
        fleet.came()
        assert await soon(fleet) == pack(dict.fromkeys([vehicles[4], vehicles[0]], big))

    asyncio.run(story())
