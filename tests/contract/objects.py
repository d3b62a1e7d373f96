"""Objects to put into stores, and stores to put them into."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from actors.records import object_name
from models.types import Trip
from serve_app.adapters.footage import FootageReader
from serve_app.adapters.gcs import GcsStore

PUBLIC_URL = "http://127.0.0.1:8000"


def make_name(part: int = 1) -> str:
    """An object's name as a new trip would give it."""
    return object_name(Trip(id=uuid.uuid4(), vehicle=uuid.uuid4(), opened_at_ms=1_760_000_000_123), part)


def make_mp4(folder: Path, size_bytes: int, seed: int = 1) -> Path:
    """A file of noise; a store does not look inside."""
    file = folder / f"{seed}-{size_bytes}.mp4"
    file.write_bytes(random.Random(seed).randbytes(size_bytes))
    return file


def make_gcs(bucket: str, *, public: bool = False, retry_for_s: float = 10.0) -> GcsStore:
    """A store on a bucket of the emulator that `STORAGE_EMULATOR_HOST` names."""
    return GcsStore(
        bucket=bucket,
        project="tests",
        credentials_file=None,
        public=public,
        public_url=PUBLIC_URL,
        retry_for_s=retry_for_s,
    )


def content(store: FootageReader, name: str) -> bytes:
    """All bytes of an object that is there."""
    size = store.size(name)
    assert size is not None
    return b"".join(store.read(name, 0, size))


def make_service_account(folder: Path) -> Path:
    """A credentials file as Google's console gives it, with a key that opens nothing."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {
        "type": "service_account",
        "project_id": "fleet",
        "private_key_id": "1",
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "client_email": "dms@fleet.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    file = folder / "account.json"
    file.write_text(json.dumps(account))
    return file
