"""Finds database and storage from this process's own settings; a function of no arguments that Ray can carry along."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.ports import Home, Stores
from actors.vehicle import VehicleConfig

if TYPE_CHECKING:
    from filelock import FileLock

    from serve_app.adapters.folder import FolderStore
    from serve_app.adapters.footage import FootageReader
    from serve_app.adapters.gcs import GcsStore
    from serve_app.adapters.sql import SqlMetricsStore
    from serve_app.adapters.stored import StoredRows
    from serve_app.settings import Settings

# A vehicle's process imports this module before its first frame: everything heavy is imported inside.


def open_stores() -> Stores:
    """The stores that this process's settings name, for writing.

    Raises:
        SettingsError: The settings are wrong here.
    """
    from serve_app.settings import process_settings  # noqa: PLC0415

    settings = process_settings()
    return Stores(footage=_footage(settings), metrics=open_metrics(settings), scratch=settings.data_dir / "scratch")


def journal_folder() -> Path:
    """Where the journals of this node are.

    Raises:
        SettingsError: The settings are wrong here.
    """
    given = os.environ.get("DATA_DIR", "")
    if os.path.isabs(given):  # noqa: PTH117 - as `make run` sets it; reading all settings takes a vehicle 0.1 s more
        return Path(given) / "journal"
    from serve_app.settings import process_settings  # noqa: PLC0415

    return process_settings().data_dir / "journal"


def gateway_lock(data_dir: Path) -> FileLock:
    """Held by the Gateway that lives, however it was started; `acquire` raises filelock.Timeout beside it."""
    from filelock import FileLock  # noqa: PLC0415

    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileLock(data_dir / "gateway.lock", thread_local=False)


ORPHANED_AFTER_S = 60.0
"""A Gateway that has not even sent a heartbeat (every 5 s) for so long is gone."""


def vehicle_config(settings: Settings) -> VehicleConfig:
    """What the settings say of vehicles."""
    return VehicleConfig(
        profile=settings.policy_profile,
        pre_roll_s=settings.footage_pre_roll_s,
        post_roll_s=settings.footage_post_roll_s,
        footage_max_bytes=settings.footage_max_mb * 2**20,
        sync_interval_s=settings.sync_interval_s,
        orphaned_after_s=ORPHANED_AFTER_S,
    )


HOME = Home(journals=journal_folder, open_stores=open_stores)
"""What every vehicle is started with."""


@dataclass(frozen=True, slots=True)
class Readers:
    """The same stores, for reading."""

    footage: FootageReader
    metrics: SqlMetricsStore

    @property
    def rows(self) -> StoredRows:
        """What is in the database."""
        from serve_app.adapters.stored import StoredRows  # noqa: PLC0415 - heavy

        return StoredRows(self.metrics)


def open_readers(settings: Settings) -> Readers:
    """The stores that the settings name, for a process that many ask."""
    return Readers(footage=_footage(settings), metrics=open_metrics(settings, pool_size=4))


def open_metrics(settings: Settings, *, pool_size: int = 0) -> SqlMetricsStore:
    """The database that the settings name; nothing is connected to yet."""
    from serve_app.adapters.sql import metrics_store  # noqa: PLC0415

    return metrics_store(
        data_dir=settings.data_dir,
        mysql_host=settings.mysql.host if settings.mysql else None,
        mysql_port=settings.mysql.port if settings.mysql else None,
        mysql_user=settings.mysql_user,
        mysql_password=settings.mysql_password.get_secret_value() if settings.mysql_password else None,
        mysql_database=settings.mysql_database,
        mysql_tls_ca=settings.mysql_tls_ca,
        pool_size=pool_size,
    )


def _footage(settings: Settings) -> FolderStore | GcsStore:
    from serve_app.adapters.storage import footage_store  # noqa: PLC0415

    return footage_store(
        data_dir=settings.data_dir,
        public_url=settings.public_url,
        bucket=settings.google_storage_bucket_name,
        project=settings.google_project_id,
        credentials_file=settings.google_application_credentials,
        public=settings.google_storage_public,
    )
