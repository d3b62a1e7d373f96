"""What only a real database can get wrong: values, time zones, races, rights, faults."""

from __future__ import annotations

import dataclasses
import datetime as dt
import multiprocessing
import sqlite3
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError

from actors.records import VideoRecord, video_uuid
from models.types import Trip
from serve_app.adapters.sql import metrics_store
from tests import servers
from tests.certificates import Authority
from tests.contract.databases import (
    Database,
    make_alerts,
    make_trip,
    make_trip_record,
    make_video,
    mariadb_database,
    sqlite_database,
)

COLUMNS = "ear, mar, sleep_duration, yawning_duration, focus_duration, object_detected, time"


def test_the_values_are_those_of_the_record(database: Database) -> None:
    trip = make_trip()
    database.store().save(make_video(trip), make_alerts(trip, 2))
    first, second = database.sql(f"SELECT {COLUMNS} FROM alerts ORDER BY time")  # noqa: S608
    assert first[:6] == (0.125, 0.5, 1.25, 0.0, 2.5, None)
    assert second[:6] == (1.125, 0.5, 1.25, 0.0, 2.5, "bottle, phone")
    assert [as_time(row[6]) for row in (first, second)] == [
        dt.datetime(2025, 10, 9, 8, 53, 20, 123_000),  # noqa: DTZ001 as the column is
        dt.datetime(2025, 10, 9, 8, 53, 20, 223_000),  # noqa: DTZ001
    ]


def as_time(value: str | dt.datetime) -> dt.datetime:
    return dt.datetime.fromisoformat(value) if isinstance(value, str) else value


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def test_rows_are_dated_in_utc_whatever_the_servers_time_zone(database: Database, mariadb: servers.MariaDb) -> None:
    with mariadb.root() as root, root.cursor() as cursor:
        cursor.execute("SET GLOBAL time_zone = '+09:00'")
        try:
            trip = make_trip()
            database.store().save(make_video(trip), make_alerts(trip, 1))
        finally:
            cursor.execute("SET GLOBAL time_zone = DEFAULT")
    for table in ("vehicles", "videos", "alerts"):
        ((created_at, updated_at),) = database.sql(f"SELECT created_at, updated_at FROM {table}")  # noqa: S608
        assert created_at == updated_at
        assert abs(as_time(created_at) - utc_now()) < dt.timedelta(minutes=1)


def test_ten_thousand_alerts_take_a_handful_of_statements(database: Database) -> None:
    trip = make_trip()
    alerts = make_alerts(trip, 10_000)
    store = database.store()
    store.prepare()
    said: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    store.save(make_video(trip), alerts)
    assert len(said) < 10
    store.save(make_video(trip), alerts)
    assert len(said) < 20
    assert database.sql("SELECT count(*) FROM alerts") == [(10_000,)]


def test_a_save_that_fails_leaves_nothing(database: Database) -> None:
    trip, other = make_trip(), make_trip()
    store = database.store()
    store.save(make_video(other), make_alerts(other, 1))
    broken = [*make_alerts(trip, 3), dataclasses.replace(make_alerts(trip, 4)[3], ear=None)]  # type: ignore[arg-type]
    with pytest.raises(IntegrityError):
        store.save(make_video(trip), broken)
    assert database.sql("SELECT uuid FROM vehicles") == [(str(other.vehicle),)]
    assert database.sql("SELECT count(*) FROM alerts") == [(1,)]


def test_a_row_that_is_stored_with_another_video_stays_there_and_holds_up_nothing(database: Database) -> None:
    """As after a node with half a trip's journals was lost and came back."""
    trip = make_trip()
    store = database.store()
    store.save(make_video(trip), make_alerts(trip, 3))
    store.save(make_video(trip, 2), make_alerts(trip, 2500))
    query = "SELECT count(*) FROM alerts a JOIN videos v ON v.id = a.video_id WHERE v.url LIKE '%-2.mp4'"
    assert database.sql(query) == [(2497,)]


def test_tables_that_were_dropped_are_made_again(database: Database) -> None:
    store = database.store()
    store.register(uuid.uuid4())
    for table in ("alerts", "dms_events", "videos", "dms_trips", "vehicles"):
        database.sql(f"DROP TABLE {table}")
    with pytest.raises(SQLAlchemyError):
        store.register(uuid.uuid4())
    store.register(uuid.uuid4())
    assert database.sql("SELECT count(*) FROM vehicles") == [(1,)]


def test_two_processes_do_the_same_at_once(database: Database) -> None:
    """From the making of the tables on, eight times over, held together by a barrier."""
    trips = [make_trip() for _ in range(8)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=_take, initargs=(spawn.Barrier(2, timeout=60),)) as pool:
        for done in [pool.submit(_save_all, database.settings, trips) for _ in range(2)]:
            done.result(120)
    for table, rows in {"vehicles": 8, "videos": 8, "alerts": 8 * 40}.items():
        assert database.sql(f"SELECT count(*) FROM {table}") == [(rows,)]  # noqa: S608


def _take(barrier: Any) -> None:
    globals()["_together"] = barrier


def _save_all(settings: dict[str, Any], trips: list[Trip]) -> None:
    store = metrics_store(**settings)
    for trip in trips:
        globals()["_together"].wait()
        store.register(trip.vehicle)
        store.save(make_video(trip), make_alerts(trip, 40))


def test_a_new_file_that_another_process_is_setting_up_is_waited_for(tmp_path: Path) -> None:
    """SQLite's own patience does not cover the switch to WAL."""
    with closing(sqlite3.connect(tmp_path / "dms.sqlite3")) as other, ThreadPoolExecutor(1) as pool:
        other.executescript("CREATE TABLE another (id INTEGER); BEGIN IMMEDIATE")
        waiting = pool.submit(metrics_store(data_dir=tmp_path).register, uuid.uuid4())
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        other.rollback()
        waiting.result(30)


def test_nothing_is_made_before_the_first_use(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path / "data")
    store = database.store()
    assert not (tmp_path / "data/dms.sqlite3").exists()
    store.prepare()
    assert {name for (name,) in database.sql("SELECT name FROM sqlite_master WHERE type = 'table'")} == {
        *("vehicles", "videos", "alerts", "dms_events", "dms_trips")
    }
    assert database.sql("PRAGMA journal_mode") == [("wal",)]


def test_sqlite_defaults_have_milliseconds_of_utc(tmp_path: Path) -> None:
    """For rows that another program inserts."""
    database = sqlite_database(tmp_path)
    database.store().prepare()
    database.sql("INSERT INTO vehicles (uuid) VALUES ('another')")
    ((created_at,),) = database.sql("SELECT created_at FROM vehicles")
    assert len(created_at) == len("2025-10-09 08:53:20.123000")
    assert abs(as_time(created_at) - utc_now()) < dt.timedelta(minutes=1)


def shapes(database: Database) -> list[str]:
    return [database.sql(f"SHOW CREATE TABLE {table}")[0][1] for table in ("vehicles", "videos", "alerts")]


def test_tables_of_the_companion_stay_as_they_are(companion: Database) -> None:
    companion.sql("ALTER TABLE videos ADD COLUMN note VARCHAR(20) NULL, COLLATE utf8mb4_bin")
    before = shapes(companion)
    trip = make_trip()
    companion.store().save(make_video(trip), make_alerts(trip, 3))
    assert _without_counters(shapes(companion)) == _without_counters(before)


def _without_counters(shapes: list[str]) -> list[str]:
    return [" ".join(word for word in shape.split(" ") if "AUTO_INCREMENT=" not in word) for shape in shapes]


def test_tables_that_we_make_are_those_of_the_companion(
    companion: Database, mariadb: servers.MariaDb, tmp_path: Path
) -> None:
    ours = mariadb_database(mariadb, tmp_path)
    ours.store().prepare()
    assert shapes(ours) == shapes(companion)


def test_a_user_who_may_not_create_tables_can_use_the_companions(
    companion: Database, caplog: pytest.LogCaptureFixture
) -> None:
    name = companion.settings["mysql_database"]
    companion.sql(f"GRANT SELECT, INSERT ON {name}.* TO 'guest'@'{servers.HOST}' IDENTIFIED BY 'guest'")
    settings = {**companion.settings, "mysql_user": "guest", "mysql_password": "guest"}
    trip = make_trip()
    store = metrics_store(**settings)
    for _ in range(2):
        store.save(make_video(trip), make_alerts(trip, 3), make_trip_record(trip))
    assert companion.sql("SELECT count(*) FROM vehicles") == [(1,)]
    assert companion.sql("SELECT count(*) FROM alerts") == [(3,)]
    assert caplog.text.count("trips and events are not recorded") == 1


def test_what_is_too_long_for_a_column_is_an_error_and_not_cut(mariadb: servers.MariaDb, tmp_path: Path) -> None:
    database = mariadb_database(mariadb, tmp_path)
    trip = make_trip()
    with mariadb.root() as root, root.cursor() as cursor:
        cursor.execute("SET GLOBAL sql_mode = ''")
        try:
            with pytest.raises(DataError):
                database.store().save(VideoRecord(video_uuid(trip.id, 1), trip.vehicle, "x" * 192), [])
        finally:
            cursor.execute("SET GLOBAL sql_mode = DEFAULT")
    assert database.sql("SELECT count(*) FROM vehicles") == [(0,)]


def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with servers.mariadb() as server:
        store = metrics_store(**mariadb_database(server, tmp_path).settings, pool_size=2)
        store.register(uuid.uuid4())
        server.kill()
        with pytest.raises(OperationalError):
            store.ping()
        with pytest.raises(OperationalError):
            store.register(uuid.uuid4())
        server.start()
        store.ping()
        server.kill()
        server.start()
        store.register(uuid.uuid4())  # the connection that it kept is dead, and nobody has noticed yet


def test_the_password_shows_nowhere(mariadb: servers.MariaDb, tmp_path: Path) -> None:
    database = mariadb_database(mariadb, tmp_path)
    store = database.store()
    name = database.settings["mysql_database"]
    assert store.describe == f"mysql {servers.HOST}:{mariadb.port}/{name}"
    store.engine.dispose()
    shown = [repr(store.engine), repr(store.engine.url), str(vars(store))]
    with pytest.raises(OperationalError) as refused:
        metrics_store(**{**database.settings, "mysql_password": "wr0ng-secret"}).ping()
    shown += [str(refused.value), repr(refused.value)]
    for text in shown:
        assert servers.PASSWORD not in text
        assert "wr0ng-secret" not in text


def test_sqlite_says_which_file(tmp_path: Path) -> None:
    assert metrics_store(data_dir=tmp_path).describe == f"sqlite {tmp_path / 'dms.sqlite3'}"


def test_a_server_at_an_ipv6_address(tmp_path: Path) -> None:
    with servers.mariadb(f"--bind-address={servers.HOST},::1") as server:
        settings = {**mariadb_database(server, tmp_path).settings, "mysql_host": "::1"}
        with pytest.raises(
            OperationalError, match="Access denied for user 'dms'@'::1'"
        ):  # reached: only HOST is let in
            metrics_store(**settings).ping()


def test_the_port_is_mysqls_own_where_none_is_given(tmp_path: Path) -> None:
    store = metrics_store(data_dir=tmp_path, mysql_host="db", mysql_database="dms")
    assert store.describe == "mysql db:3306/dms"


def test_a_host_without_a_database(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MYSQL_DATABASE is empty"):
        metrics_store(data_dir=tmp_path, mysql_host="db")


def test_a_server_that_is_down_is_an_error_to_try_again(tmp_path: Path) -> None:
    port = servers.free_port()
    store = metrics_store(data_dir=tmp_path, mysql_host=servers.HOST, mysql_port=port, mysql_database="dms")
    for call in (store.ping, store.prepare, lambda: store.register(uuid.uuid4())):
        with pytest.raises(OperationalError):
            call()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority with one server, `db.example`."""
    return Authority.make(tmp_path_factory.mktemp("tls"))


def test_a_server_is_trusted_by_its_authority(authority: Authority, tmp_path: Path) -> None:
    files = (f"--ssl-ca={authority.ca}", f"--ssl-cert={authority.certificate}", f"--ssl-key={authority.key}")
    with servers.mariadb(*files) as server:
        settings = mariadb_database(server, tmp_path).settings
        with metrics_store(**settings, mysql_tls_ca=authority.ca).engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").one()[1]
        with pytest.raises(OperationalError, match="certificate verify failed"):
            metrics_store(**settings, mysql_tls_ca=authority.other_ca).ping()
        named = {**settings, "mysql_host": "localhost"}
        with pytest.raises(OperationalError, match="not valid for 'localhost'"):
            metrics_store(**named, mysql_tls_ca=authority.ca).ping()


def test_a_server_without_encryption_is_refused_where_an_authority_is_set(
    authority: Authority, mariadb: servers.MariaDb, tmp_path: Path
) -> None:
    settings = mariadb_database(mariadb, tmp_path).settings
    with pytest.raises(OperationalError, match="SSL"):
        metrics_store(**settings, mysql_tls_ca=authority.ca).ping()
