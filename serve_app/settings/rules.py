"""What must hold between settings, and between them and this machine's files."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from serve_app.adapters.footage import BASE_URL_MAX_CHARS, GCS_URL, URL_MAX_CHARS
from serve_app.settings.fields import Settings
from serve_app.settings.values import is_loopback, mqtt_address

_ADC_TIMEOUT_S = 5.0
_MODEL_SUFFIXES = (".pt", ".onnx", ".engine")


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that is broken.

    Args:
        names: The settings it is about; the first is the one to name. Not said when one of them is wrong by itself.
        right: What would be right.
    """

    names: tuple[str, ...]
    right: str


@dataclass(frozen=True, slots=True)
class _Found:
    there: bool = False
    file: bool = False
    folder: bool = False
    fault: str = ""


def faults_between(settings: Settings, given: AbstractSet[str], *, emulator: bool, probe: bool) -> Iterator[Fault]:
    """Every broken rule.

    Args:
        settings: Each valid by itself.
        given: The names that are not empty.
        emulator: Whether STORAGE_EMULATOR_HOST stands in for GCS.
        probe: Whether to look for credentials, in the file named or where Application Default Credentials lie.
    """
    yield from _mqtt(settings, given)
    yield from _mysql(settings, given)
    yield from _storage(settings, emulator=emulator, probe=probe)
    yield from _model(settings)
    if not is_loopback(settings.http_host) and settings.api_token is None:
        yield Fault(("HTTP_HOST", "API_TOKEN"), "other than loopback needs API_TOKEN")
    if settings.mqtt is None and settings.http_port == settings.mqtt_broker_port:
        yield Fault(("HTTP_PORT", "MQTT_BROKER_PORT"), "should be another port than that of the embedded broker")
    yield from _data_dir(settings.data_dir)


def _mqtt(settings: Settings, given: AbstractSet[str]) -> Iterator[Fault]:
    if settings.mqtt_broker_url is not None:
        port = mqtt_address(settings.mqtt_broker_url).port
        if port is not None and "MQTT_BROKER_PORT" in given and port != settings.mqtt_broker_port:
            yield Fault(("MQTT_BROKER_PORT", "MQTT_BROKER_URL"), f"should be {port} as in MQTT_BROKER_URL, or empty")
    else:
        for name in ("MQTT_TLS_CA", "MQTT_TLS_CERT", "MQTT_TLS_KEY"):
            if name in given:
                yield Fault((name, "MQTT_BROKER_URL"), "needs MQTT_BROKER_URL: the embedded broker speaks no TLS")
    if settings.mqtt_password is not None and settings.mqtt_username is None:
        yield Fault(("MQTT_PASSWORD", "MQTT_USERNAME"), "needs MQTT_USERNAME")
    yield from _together("MQTT_TLS_CERT", "MQTT_TLS_KEY", given)
    yield from _file("MQTT_TLS_CA", settings.mqtt_tls_ca)
    yield from _file("MQTT_TLS_CERT", settings.mqtt_tls_cert)
    yield from _file("MQTT_TLS_KEY", settings.mqtt_tls_key)


def _mysql(settings: Settings, given: AbstractSet[str]) -> Iterator[Fault]:
    if settings.mysql_host is None:
        for name in ("MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE", "MYSQL_TLS_CA"):
            if name in given:
                yield Fault((name, "MYSQL_HOST"), "needs MYSQL_HOST, else SQLite is used")
    else:
        for name in ("MYSQL_USER", "MYSQL_DATABASE"):
            if name not in given:
                yield Fault((name, "MYSQL_HOST"), "should be set, as MYSQL_HOST is")
    yield from _file("MYSQL_TLS_CA", settings.mysql_tls_ca)


def _storage(settings: Settings, *, emulator: bool, probe: bool) -> Iterator[Fault]:
    bucket, credentials = settings.google_storage_bucket_name, settings.google_application_credentials
    if bucket is None:
        if settings.google_storage_public:
            yield Fault(
                ("GOOGLE_STORAGE_PUBLIC", "GOOGLE_STORAGE_BUCKET_NAME"),
                "needs GOOGLE_STORAGE_BUCKET_NAME, else a folder is used",
            )
        return
    room = BASE_URL_MAX_CHARS - len(GCS_URL)
    if settings.google_storage_public and len(bucket) > room:
        yield Fault(
            ("GOOGLE_STORAGE_BUCKET_NAME",),
            f"should have at most {room} characters, so that public URLs fit into {URL_MAX_CHARS}",
        )
    if emulator:
        return
    if credentials is None:
        if probe and not _default_credentials():
            yield Fault(
                ("GOOGLE_STORAGE_BUCKET_NAME",),
                "needs credentials: set GOOGLE_APPLICATION_CREDENTIALS to a JSON file, provide Application Default "
                "Credentials (gcloud auth application-default login) or set STORAGE_EMULATOR_HOST",
            )
        return
    missing = list(_file("GOOGLE_APPLICATION_CREDENTIALS", credentials))
    yield from missing
    if probe and not missing and not _holds_credentials(credentials):
        yield Fault(("GOOGLE_APPLICATION_CREDENTIALS",), "should be a JSON file with credentials, as Google gives it")


def _model(settings: Settings) -> Iterator[Fault]:
    path = settings.model_path
    if path is None:
        return
    found = _look(path)
    if found.fault:
        yield Fault(("MODEL_PATH",), found.fault)
    elif not found.there:
        yield Fault(("MODEL_PATH",), "there is no such file or folder")
    elif not (any(path.glob("*.xml")) if found.folder else found.file and path.suffix in _MODEL_SUFFIXES):
        yield Fault(
            ("MODEL_PATH",), "should be a .pt, .onnx or .engine file or an OpenVINO folder (with an .xml in it)"
        )


def _data_dir(path: Path) -> Iterator[Fault]:
    """It may be missing, and is made then, but not below a file, and not where this user may make nothing."""
    for place in (path, *path.parents):
        found = _look(place)
        if not found.there:
            continue
        name = "" if place == path else f"{place} "
        if found.fault and place == path:
            yield Fault(("DATA_DIR",), found.fault)
        elif not found.folder:
            yield Fault(("DATA_DIR",), f"{name}is no folder" if name else "should be a folder")
        elif not os.access(place, os.W_OK | os.X_OK):
            yield Fault(("DATA_DIR",), f"{name}cannot be written to")
        return


def _together(one: str, other: str, given: AbstractSet[str]) -> Iterator[Fault]:
    for name, missing in ((one, other), (other, one)):
        if name in given and missing not in given:
            yield Fault((name, missing), f"needs {missing}")


def _file(name: str, path: Path | None) -> Iterator[Fault]:
    if path is None:
        return
    found = _look(path)
    if found.fault or not found.file:
        yield Fault((name,), found.fault or "there is no such file")


def _look(path: Path) -> _Found:
    """What is there, as far as this user may see."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _Found()
    except OSError as error:
        return _Found(there=True, fault=f"cannot be looked at: {error.strerror}")
    except ValueError:
        return _Found(there=True, fault="should be a path")
    file, folder = stat.S_ISREG(mode), stat.S_ISDIR(mode)
    needs = os.R_OK | os.X_OK if folder else os.R_OK
    return _Found(there=True, file=file, folder=folder, fault="" if os.access(path, needs) else "cannot be read")


def _holds_credentials(path: Path) -> bool:
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - importing settings must stay quick

    from serve_app.adapters.gcs import load_credentials  # noqa: PLC0415 - as the store itself will read it

    try:
        load_credentials(path)
    except (GoogleAuthError, ValueError, OSError, AttributeError):  # the last: JSON that is no object
        return False
    return True


def _default_credentials() -> bool:
    """Whether Application Default Credentials can be found, in the time that a start may take."""
    found = threading.Event()
    asked = threading.Thread(target=_ask_for_credentials, args=(found,), name="credentials", daemon=True)
    # In a thread, as the client library asks the metadata server of GCE several times, 3 s each where none answers.
    asked.start()
    asked.join(_ADC_TIMEOUT_S)
    return found.is_set()


def _ask_for_credentials(found: threading.Event) -> None:
    import google.auth  # noqa: PLC0415 - importing settings must stay quick
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415

    logging.getLogger("google.auth").setLevel(logging.ERROR)  # it warns of what the caller says in one line
    try:
        google.auth.default()
    except DefaultCredentialsError:
        return
    found.set()
