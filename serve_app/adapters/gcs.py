"""Footage in a Google Cloud Storage bucket."""

from __future__ import annotations

import datetime as dt
import logging
import os
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from serve_app.adapters.footage import (
    CHUNK_BYTES,
    GCS_URL,
    checked_base_url,
    checked_name,
    is_object_name,
    own_base_url,
)

_UPLOAD_CHUNK_BYTES = 8 * 1024 * 1024  # what is sent again after a fault of the network; a multiple of 256 KiB
_TIMEOUTS_S = (5.0, 30.0)  # to connect, between two bytes
_READ_RETRY_S = 5.0  # a person waits at the other end
_SIGNED_FOR = dt.timedelta(minutes=5)
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

_log = logging.getLogger(__name__)


class GcsStore:
    """Keeps every MP4 and trace as an object of one bucket; both `FootageStore` and `FootageReader`.

    The credentials need `roles/storage.objectUser` on the bucket. With `STORAGE_EMULATOR_HOST` in the environment
    none are used, and the client library talks to that address. Credentials are looked for at the first use, which
    raises `google.auth.exceptions.DefaultCredentialsError` where there are none; the next use looks again.

    Args:
        bucket: The bucket's name; it must exist.
        project: Its project; None where the credentials say it.
        credentials_file: A credentials file of any kind that Google's library reads; None: Application Default
            Credentials.
        public: Whether anyone may read the objects at `storage.googleapis.com`.
        public_url: Where a person's browser reaches the service, `http://127.0.0.1:8000`.
        retry_for_s: How long the client library itself repeats an upload's request that failed for a passing reason
            (network, 408, 429, 5xx). Under that the flush has its own backoff, which is for faults that last.

    Raises:
        ValueError: A URL would be too long for `videos.url`.
    """

    def __init__(
        self,
        *,
        bucket: str,
        project: str | None,
        credentials_file: Path | None,
        public: bool,
        public_url: str,
        retry_for_s: float = 10.0,
    ) -> None:
        if public:
            base = checked_base_url("GOOGLE_STORAGE_BUCKET_NAME", GCS_URL + bucket)
        else:
            base = checked_base_url("PUBLIC_URL", own_base_url(public_url))
        self._base_url = base
        self._name = bucket
        self._project = project
        self._credentials_file = credentials_file
        self._retry_for_s = retry_for_s

    @cached_property
    def _bucket(self) -> Any:
        """Made at the first use; by two threads at once, twice, and one of them counts.

        Half a second and 40 MB of imports, and maybe a question to a metadata server that is down: for a process
        that touches the bucket only.
        """
        from google.cloud import storage  # noqa: PLC0415

        client = storage.Client(project=self._project, credentials=_credentials(self._credentials_file))
        return client.bucket(self._name)

    def _retry(self, timeout_s: float) -> Any:
        """The library's rule of what is a passing fault."""
        from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415

        return DEFAULT_RETRY.with_timeout(timeout_s)

    @cached_property
    def _read_retry(self) -> Any:
        return self._retry(min(self._retry_for_s, _READ_RETRY_S))

    def put(self, name: str, file: Path) -> None:
        """See `FootageStore.put`."""
        from google.api_core.exceptions import PreconditionFailed  # noqa: PLC0415

        blob = self._bucket.blob(checked_name(name), chunk_size=_UPLOAD_CHUNK_BYTES)
        try:
            blob.upload_from_filename(
                str(file),
                content_type="video/mp4" if name.endswith(".mp4") else "application/json",
                if_generation_match=0,
                timeout=_TIMEOUTS_S,
                # if_generation_match=0 makes every request safe to repeat; 10 s cover a hiccup, more is
                # the flush's to wait.
                retry=self._retry(self._retry_for_s),
            )
        except PreconditionFailed:
            _log.info("%s is in the bucket already", name)

    def url(self, name: str) -> str:
        """See `FootageStore.url`."""
        return f"{self._base_url}/{checked_name(name)}"

    def size(self, name: str) -> int | None:
        """See `FootageReader.size`."""
        if not is_object_name(name):
            return None
        blob = self._bucket.get_blob(name, timeout=_TIMEOUTS_S, retry=self._read_retry)
        return None if blob is None else int(blob.size)

    def read(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """See `FootageReader.read`; a request for every piece, so a browser that leaves costs one piece."""
        return self._pieces(self._bucket.blob(checked_name(name)), start, end)

    def signed_url(self, name: str) -> str | None:
        """See `FootageReader.signed_url`; V4."""
        from google.auth.credentials import Signing  # noqa: PLC0415
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

        blob = self._bucket.blob(checked_name(name))
        if not isinstance(self._bucket.client._credentials, Signing):  # noqa: SLF001 there is no public way to ask
            return None
        try:
            return str(blob.generate_signed_url(version="v4", expiration=_SIGNED_FOR, method="GET"))
        except GoogleAuthError as error:
            # Impersonated credentials ask Google to sign and may not be allowed to; the footage is streamed then.
            _log.warning("no signed URL for %s: %s", name, error)
            return None

    def ping(self) -> None:
        """See `FootageReader.ping`; lists one name, because a role that may write objects may not see the bucket."""
        next(iter(self._bucket.list_blobs(max_results=1, timeout=_TIMEOUTS_S[0], retry=None)), None)

    def _pieces(self, blob: Any, start: int, end: int) -> Iterator[bytes]:
        from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable  # noqa: PLC0415

        while start < end:
            try:
                piece = blob.download_as_bytes(
                    start=start, end=min(start + CHUNK_BYTES, end) - 1, timeout=_TIMEOUTS_S, retry=self._read_retry
                )
            except NotFound as error:
                raise FileNotFoundError(f"no object {blob.name} in bucket {self._name}") from error
            except RequestRangeNotSatisfiable:
                return
            yield piece
            start += len(piece)


def _credentials(file: Path | None) -> Any:
    """Credentials for the client; None leaves them to Application Default Credentials."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415

        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    return load_credentials(file) if file else None


def load_credentials(file: Path) -> Any:
    """What the file holds, for use with buckets.

    Raises:
        google.auth.exceptions.GoogleAuthError: It holds no credentials.
        ValueError: It holds credentials that are damaged.
        OSError: It cannot be read.
    """
    from google.auth import load_credentials_from_file  # noqa: PLC0415

    with warnings.catch_warnings():
        # Deprecated for files that strangers hand in; this one is the operator's own, of whatever kind it is.
        warnings.simplefilter("ignore", DeprecationWarning)
        return load_credentials_from_file(str(file), scopes=[_SCOPE])[0]  # type: ignore[no-untyped-call]
