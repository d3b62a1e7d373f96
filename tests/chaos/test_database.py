"""The database goes away, dies in the middle of a transaction, or has two that are in each other's way."""

from __future__ import annotations

import contextlib
import time
import uuid

import pymysql
import pytest

from tests.chaos.conftest import Tell
from tests.chaos.world import World
from tests.waiting import eventually

BALLAST_ROWS = 2_000


def test_the_database_is_away_when_the_trips_end(world: World, tell: Tell) -> None:
    with tell("MariaDB stopped for 30 s at close") as story:
        story.open()
        story.fleet.drive(4)
        with story.fault():
            world.mariadb.stop()
            story.close()
            time.sleep(30)
            world.mariadb.start()
        story.settle()


@pytest.mark.quick
def test_the_database_is_killed_in_the_middle_of_the_transactions(world: World, tell: Tell) -> None:
    with tell("MariaDB killed mid-transaction") as story:
        story.open()
        story.fleet.drive(4)
        with contextlib.closing(world.mariadb.root(world.database)) as root, root.cursor() as cursor:
            cursor.execute("LOCK TABLES alerts WRITE")
            story.close()
            with contextlib.closing(world.mariadb.root()) as other, other.cursor() as watch:
                # They have written their `videos` row and want to go on with `alerts`.
                assert eventually(lambda: _waiting(watch, "metadata lock") == len(story.fleet.vehicles))
            with story.fault():
                world.mariadb.kill()
                time.sleep(1)
                world.mariadb.start()
        story.settle()


def test_a_transaction_that_loses_a_deadlock_is_repeated(world: World, tell: Tell) -> None:
    with tell("deadlock, lost by us", vehicles=1) as story:
        [vehicle] = story.fleet.vehicles
        story.open()
        story.fleet.drive(4)
        with (
            contextlib.closing(world.mariadb.root(world.database)) as root,
            contextlib.closing(world.mariadb.root()) as other,
            root.cursor() as cursor,
            other.cursor() as watch,
        ):
            before = _deadlocks(watch)
            with story.fault():
                _hold(cursor, vehicle)
                story.close()
                # It has inserted its row in `videos`, whose foreign key now waits for the vehicle that we hold ...
                assert eventually(lambda: _lock_waits(watch)), "no transaction waits for ours"
                cursor.execute("SELECT * FROM videos FOR UPDATE")  # ... and we want that row
                cursor.execute("ROLLBACK")
            assert _deadlocks(watch) == before + 1
            cursor.execute("DROP TABLE ballast")
        story.settle()


def _hold(cursor: pymysql.cursors.Cursor, vehicle: uuid.UUID) -> None:
    """Begin a transaction that locks the vehicle, with so many changes that InnoDB ends the other one in a deadlock."""
    cursor.execute("CREATE TABLE ballast (id INT PRIMARY KEY)")
    cursor.execute("BEGIN")
    cursor.executemany("INSERT INTO ballast VALUES (%s)", [(i,) for i in range(BALLAST_ROWS)])
    cursor.execute("SELECT id FROM vehicles WHERE uuid = %s FOR UPDATE", (str(vehicle),))
    assert cursor.fetchall(), "the vehicle is registered"


def _waiting(cursor: pymysql.cursors.Cursor, what: str) -> int:
    cursor.execute("SELECT count(*) FROM information_schema.PROCESSLIST WHERE state LIKE %s", (f"%{what}%",))
    return _number(cursor)


def _lock_waits(cursor: pymysql.cursors.Cursor) -> int:
    time.sleep(0.2)  # InnoDB shows the same old picture to whoever looks more often
    cursor.execute("SELECT count(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'")
    return _number(cursor)


def _deadlocks(cursor: pymysql.cursors.Cursor) -> int:
    cursor.execute(
        "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Innodb_deadlocks'"
    )
    return _number(cursor)


def _number(cursor: pymysql.cursors.Cursor) -> int:
    [row] = cursor.fetchall()
    return int(row[0])
