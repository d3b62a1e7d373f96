"""One suite for every store of footage: the fake, a folder, a bucket."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.ports import FootageStore
from actors.records import object_name
from models.types import Trip
from serve_app.adapters.folder import FolderStore
from serve_app.adapters.footage import CHUNK_BYTES, FootageReader
from serve_app.adapters.gcs import GcsStore
from tests.contract.objects import PUBLIC_URL, content, make_gcs, make_mp4, make_name
from tests.fakes.stores import FakeFootageStore

NO_NAMES = [
    "",
    "2026-01-31",
    "../2026-01-31/x.mp4",
    f"2026-01-31/../{uuid.uuid4()}-{uuid.uuid4()}.mp4",
    f"/2026-01-31/{uuid.uuid4()}-{uuid.uuid4()}.mp4",
    f"2026-01-31/{uuid.uuid4()}.mp4",
    f"2026-01-31/{uuid.uuid4()}-{uuid.uuid4()}.mp4\n",
    f"2026-01-31/{uuid.uuid4()}-{uuid.uuid4()}.mp4/x",
    f"2026-01-31/{uuid.uuid4()}-{uuid.uuid4()}-x.mp4",
    f".2026-01-31/{uuid.uuid4()}-{uuid.uuid4()}.mp4.part",
    f"2026-01-31/{str(uuid.uuid4()).upper()}-{uuid.uuid4()}.mp4",
    f"２０２６-01-31/{uuid.uuid4()}-{uuid.uuid4()}.mp4",  # noqa: RUF001 digits that are no ASCII
]

Store = FakeFootageStore | FolderStore | GcsStore


@pytest.fixture(params=["fake", "folder", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match request.param:
        case "fake":
            return FakeFootageStore(PUBLIC_URL)
        case "folder":
            return FolderStore(tmp_path / "footage", PUBLIC_URL)
        case _:
            return make_gcs(request.getfixturevalue("emulator").bucket())


def test_what_is_put_can_be_read(store: Store, tmp_path: Path) -> None:
    writer: FootageStore = store
    reader: FootageReader = store
    name, mp4 = make_name(), make_mp4(tmp_path, 3 * CHUNK_BYTES + 17)
    assert reader.size(name) is None
    writer.put(name, mp4)
    assert reader.size(name) == mp4.stat().st_size
    assert content(reader, name) == mp4.read_bytes()


def test_what_is_there_is_left_alone(store: Store, tmp_path: Path) -> None:
    name, first = make_name(), make_mp4(tmp_path, 2000, seed=1)
    store.put(name, first)
    store.put(name, make_mp4(tmp_path, 3000, seed=2))
    assert content(store, name) == first.read_bytes()


def test_parts_of_a_trip_are_objects_of_their_own(store: Store, tmp_path: Path) -> None:
    trip = Trip(id=uuid.uuid4(), vehicle=uuid.uuid4(), opened_at_ms=0)
    files = {object_name(trip, part): make_mp4(tmp_path, 1000 * part) for part in (1, 2, 12)}
    for name, mp4 in files.items():
        store.put(name, mp4)
    for name, mp4 in files.items():
        assert content(store, name) == mp4.read_bytes()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (0, CHUNK_BYTES),
        (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        (5, 2 * CHUNK_BYTES + 9),
        (2 * CHUNK_BYTES + 9, 2 * CHUNK_BYTES + 10),
        (7, 7),
        (7, 10**9),
        (10**9, 2 * 10**9),
    ],
)
def test_a_part_of_the_bytes(store: Store, tmp_path: Path, start: int, end: int) -> None:
    name, mp4 = make_name(), make_mp4(tmp_path, 2 * CHUNK_BYTES + 10)
    store.put(name, mp4)
    pieces = list(store.read(name, start, end))
    assert b"".join(pieces) == mp4.read_bytes()[start:end]
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)


def test_reading_what_is_not_there(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        next(store.read(make_name(), 0, 10))


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_none_opens_nothing(store: Store, tmp_path: Path, name: str) -> None:
    mp4 = make_mp4(tmp_path, 10)
    assert store.size(name) is None
    for call in (
        lambda: store.put(name, mp4),
        lambda: store.url(name),
        lambda: store.read(name, 0, 1),
        lambda: store.signed_url(name),
    ):
        with pytest.raises(ValueError, match="expected YYYY-MM-DD"):
            call()


def test_a_file_that_is_missing_is_an_error(store: Store, tmp_path: Path) -> None:
    name = make_name()
    with pytest.raises(OSError, match=r"nothing\.mp4"):
        store.put(name, tmp_path / "nothing.mp4")
    assert store.size(name) is None


def test_its_url_leads_to_the_service(store: Store) -> None:
    name = make_name(part=3)
    assert store.url(name) == f"{PUBLIC_URL}/footage/{name}"
    assert store.signed_url(name) is None


def test_threads_that_put_the_same_at_once(store: Store, tmp_path: Path) -> None:
    name, mp4 = make_name(), make_mp4(tmp_path, 200_000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.put(name, mp4), range(8)))
    assert content(store, name) == mp4.read_bytes()


def test_it_answers_a_ping(store: Store) -> None:
    store.ping()
