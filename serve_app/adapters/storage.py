"""Chooses the footage store from plain settings."""

from __future__ import annotations

from pathlib import Path

from serve_app.adapters.folder import FolderStore
from serve_app.adapters.gcs import GcsStore


def footage_store(
    *,
    data_dir: Path,
    public_url: str,
    bucket: str | None = None,
    project: str | None = None,
    credentials_file: Path | None = None,
    public: bool = False,
) -> FolderStore | GcsStore:
    """The bucket where one is named, else the folder `footage` below `data_dir`.

    Raises:
        ValueError: A URL would be too long for `videos.url`.
    """
    if not bucket:
        return FolderStore(data_dir / "footage", public_url)
    return GcsStore(
        bucket=bucket, project=project, credentials_file=credentials_file, public=public, public_url=public_url
    )
