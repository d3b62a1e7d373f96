"""The tables that the companion web backend may have made before us, in its shape also where we make them; and ours."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement


class _NowMs(FunctionElement[Any]):
    """The default of a time column: now in UTC on SQLite, in the server's time zone on MySQL, to the millisecond.

    Our own rows always carry their times, so that zone is the companion's business alone.
    """

    inherit_cache = True


@compiles(_NowMs)
def _now_mysql(_element: _NowMs, _compiler: Any, **_: Any) -> str:
    return "CURRENT_TIMESTAMP(3)"


@compiles(_NowMs, "sqlite")
def _now_sqlite(_element: _NowMs, _compiler: Any, **_: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"  # %f ends in milliseconds, SQLAlchemy writes microseconds


_ID = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER counts up by itself in SQLite
_TIME = DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")
_MYSQL: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_unicode_ci"}


def _time(name: str) -> Column[Any]:
    return Column(name, _TIME, nullable=False, server_default=_NowMs())


def _metric(name: str) -> Column[Any]:
    return Column(name, Double(), nullable=False, server_default="0")


def _parent(child: str, column: str, parent: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        [column], [f"{parent}.id"], name=f"{child}_{column}_fkey", ondelete="RESTRICT", onupdate="CASCADE"
    )


metadata = MetaData()

vehicles = Table(
    "vehicles",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("uuid", String(191), nullable=False),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("uuid", name="vehicles_uuid_key"),
    **_MYSQL,
)

videos = Table(
    "videos",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("vehicle_id", BigInteger(), nullable=False),
    Column("uuid", String(191), nullable=False),
    Column("url", String(191), nullable=False),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("uuid", name="videos_uuid_key"),
    _parent("videos", "vehicle_id", "vehicles"),
    **_MYSQL,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("video_id", BigInteger(), nullable=False),
    Column("uuid", String(191), nullable=False),
    _metric("ear"),
    _metric("mar"),
    _metric("sleep_duration"),
    _metric("yawning_duration"),
    _metric("focus_duration"),
    Column("object_detected", String(191)),
    _time("time"),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("uuid", name="alerts_uuid_key"),
    _parent("alerts", "video_id", "videos"),
    **_MYSQL,
)

trips = Table(
    "dms_trips",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("vehicle_id", BigInteger(), nullable=False),
    Column("uuid", String(191), nullable=False),
    _time("opened_at"),
    _time("ended_at"),
    Column("closed_by", String(16), nullable=False),
    Column("recovered", Boolean(), nullable=False),
    Column("frames", BigInteger(), nullable=False),
    Column("flagged", BigInteger(), nullable=False),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("uuid", name="dms_trips_uuid_key"),
    _parent("dms_trips", "vehicle_id", "vehicles"),
    Index("dms_trips_opened_at_idx", "opened_at"),
    **_MYSQL,
)

events = Table(
    "dms_events",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("vehicle_id", BigInteger(), nullable=False),
    Column("trip", String(36), nullable=False),
    Column("uuid", String(191), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("severity", String(16), nullable=False),
    _time("started_at"),
    Column("ended_at", _TIME),
    Column("peak", Text(), nullable=False),
    Column("coverage", Double(), nullable=False),
    Column("policy", String(64), nullable=False),
    Column("models", String(191), nullable=False),
    Column("video_id", BigInteger()),
    Column("offset_s", Double()),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("uuid", name="dms_events_uuid_key"),
    _parent("dms_events", "vehicle_id", "vehicles"),
    _parent("dms_events", "video_id", "videos"),
    Index("dms_events_started_at_idx", "started_at"),
    Index("dms_events_trip_idx", "trip"),
    **_MYSQL,
)

# InnoDB indexes a foreign key by itself, SQLite does not.
Index("videos_vehicle_id_idx", videos.c.vehicle_id).ddl_if(dialect="sqlite")
Index("alerts_video_id_idx", alerts.c.video_id).ddl_if(dialect="sqlite")
Index("dms_trips_vehicle_id_idx", trips.c.vehicle_id).ddl_if(dialect="sqlite")
Index("dms_events_vehicle_id_idx", events.c.vehicle_id).ddl_if(dialect="sqlite")
Index("dms_events_video_id_idx", events.c.video_id).ddl_if(dialect="sqlite")
