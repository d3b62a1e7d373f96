"""Every setting: its name, default, bounds and what it is for."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from models.profiles import ProfileName
from serve_app.settings.values import (
    Address,
    Bucket,
    Host,
    MqttUrl,
    MysqlHost,
    ProjectPath,
    PublicUrl,
    Token,
    mqtt_address,
    mysql_address,
)

_CLIENT_IDS = uuid.UUID("5b0c3f0e-3f52-4c0f-9d0a-6a0d3c1b7e55")


def _client_id(data: dict[str, Any]) -> str:
    """Stable over restarts, so that the broker keeps the session, and another for each machine and DATA_DIR."""
    return "dms-" + uuid.uuid5(_CLIENT_IDS, f"{socket.gethostname()}\n{data.get('data_dir')}").hex[:12]


def _own_url(data: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{data.get('http_port', 8000)}"


def _empty(title: str, description: str, *, when_empty: str, **kw: Any) -> Any:
    """A setting whose default is no value, or one worked out of others; `when_empty` says what happens then."""
    default = kw if "default_factory" in kw else {"default": None, **kw}
    return Field(title=title, description=description, json_schema_extra={"when_empty": when_empty}, **default)


class Settings(BaseModel):
    """All settings, each field named as its setting in lower case; `load_settings` makes one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data_dir: ProjectPath = Field(
        Path("data"),
        validate_default=True,
        title="Data folder",
        description="Folder of the journal, the model files and, by default, of the database and the footage; relative "
        "to the project.",
        json_schema_extra={"when_empty": "`./data`"},
    )

    mqtt_broker_url: MqttUrl | None = _empty(
        "MQTT broker",
        "Host, `host:port`, `mqtt://host:port` or, for TLS, `mqtts://host:port` of the broker.",
        when_empty="an embedded broker on 127.0.0.1",
    )
    mqtt_broker_port: int = Field(
        1883,
        ge=1,
        le=65535,
        title="MQTT port",
        description="Port of the broker, also of the embedded one; 8883 by default after `mqtts://`.",
    )
    mqtt_username: str | None = _empty("MQTT user", "User name at the broker.", when_empty="none")
    mqtt_password: SecretStr | None = _empty("MQTT password", "Password at the broker.", when_empty="none")
    mqtt_tls_ca: ProjectPath | None = _empty(
        "MQTT CA",
        "PEM file of the CA that signed the broker's certificate; switches TLS on.",
        when_empty="with TLS, the CAs that this machine trusts",
    )
    mqtt_tls_cert: ProjectPath | None = _empty(
        "MQTT certificate",
        "PEM file of the client certificate, together with `MQTT_TLS_KEY`; switches TLS on.",
        when_empty="none",
    )
    mqtt_tls_key: ProjectPath | None = _empty(
        "MQTT key", "PEM file of the client certificate's key.", when_empty="none"
    )
    mqtt_client_id: str = _empty(
        "MQTT client id",
        "Name of the session at the broker; must be unique there and stay the same over restarts.",
        when_empty="derived from the machine and `DATA_DIR`",
        default_factory=_client_id,
        max_length=128,
    )

    mysql_host: MysqlHost | None = _empty(
        "MySQL server", "Host or `host:port` of MySQL 8 or MariaDB 10.6+.", when_empty="SQLite under `DATA_DIR`"
    )
    mysql_user: str | None = _empty("MySQL user", "User name at the database.", when_empty="none")
    mysql_password: SecretStr | None = _empty("MySQL password", "Password at the database.", when_empty="none")
    mysql_database: str | None = _empty("MySQL database", "Name of the database.", when_empty="none")
    mysql_tls_ca: ProjectPath | None = _empty(
        "MySQL CA", "PEM file of the CA that signed the server's certificate; switches TLS on.", when_empty="none"
    )

    google_storage_bucket_name: Bucket | None = _empty(
        "GCS bucket", "Bucket for the footage.", when_empty="a folder under `DATA_DIR`"
    )
    google_project_id: str | None = _empty(
        "GCP project", "Project of the bucket.", when_empty="that of the credentials"
    )
    google_application_credentials: ProjectPath | None = _empty(
        "GCP credentials", "JSON file with credentials for the bucket.", when_empty="Application Default Credentials"
    )
    google_storage_public: bool = Field(
        default=False,
        title="Public bucket",
        description="Whether the bucket's objects are public; video URLs then point to storage.googleapis.com.",
    )

    model_path: ProjectPath | None = _empty(
        "Object model",
        "Weights of the object model: a .pt, .onnx or .engine file or an OpenVINO folder.",
        when_empty="the weights in `models/weights`; without them, no object detection",
    )
    object_confidence: float = Field(
        0.25, ge=0, le=1, title="Object confidence", description="Lowest confidence at which an object counts."
    )
    image_size: int = Field(
        320, ge=32, le=1920, multiple_of=32, title="Image size", description="Input of the object model, in pixels."
    )
    policy_profile: ProfileName = Field(
        "default", title="Policy profile", description="Thresholds and times that say what counts as drowsy."
    )

    sync_interval_s: float = Field(
        1,
        ge=0,
        le=60,
        title="Journal sync",
        description="Seconds that a power cut may take from the journal; 0: the disk has each push before its answer.",
    )
    footage_pre_roll_s: float = Field(
        0, ge=0, le=60, title="Pre-roll", description="Seconds of footage kept before a flagged frame."
    )
    footage_post_roll_s: float = Field(
        0, ge=0, le=60, title="Post-roll", description="Seconds of footage kept after a flagged frame."
    )
    footage_max_mb: int = Field(
        64, ge=1, le=4096, title="Footage part", description="Megabytes of pictures after which a new MP4 begins."
    )

    max_frame_bytes: int = Field(
        2**20, ge=1024, le=3_000_000, title="Frame bytes", description="Largest frame that is taken, in bytes."
    )
    max_frame_pixels: int = Field(
        2**24, ge=4096, le=2**27, title="Frame pixels", description="Largest frame that is taken, in pixels."
    )
    mailbox_frames: int = Field(
        150,
        ge=1,
        le=10_000,
        title="Mailbox",
        description="Frames of a vehicle that may wait, 16 MiB at most; beyond, the oldest go.",
    )
    max_vehicles: int = Field(
        200, ge=1, le=10_000, title="Vehicles", description="Streams that may be open at the same time."
    )
    stream_idle_timeout_s: float = Field(
        30, ge=1, le=86_400, title="Idle timeout", description="Seconds without a frame after which a trip ends."
    )
    shutdown_grace_s: float = Field(
        60, ge=0, le=3600, title="Shutdown grace", description="Seconds that `make run` flushes open trips at its end."
    )

    http_host: Host = Field(
        "127.0.0.1",
        title="HTTP host",
        description="Address that the HTTP API listens on; other than loopback needs `API_TOKEN`.",
    )
    http_port: int = Field(8000, ge=1, le=65535, title="HTTP port", description="Port of the HTTP API.")
    public_url: PublicUrl = _empty(
        "Public URL",
        "URL at which browsers reach the HTTP API; video URLs begin with it.",
        when_empty="`http://127.0.0.1:8000`, with `HTTP_PORT`",
        default_factory=_own_url,
    )
    api_token: Token | None = _empty(
        "API token", "Token that HTTP clients must show.", when_empty="none, loopback only"
    )

    @property
    def mqtt(self) -> Address | None:
        """The broker, with its port and whether to use TLS; None for the embedded one."""
        if self.mqtt_broker_url is None:
            return None
        at = mqtt_address(self.mqtt_broker_url)
        by_default = 8883 if at.tls and "mqtt_broker_port" not in self.model_fields_set else self.mqtt_broker_port
        return Address(at.host, at.port or by_default, at.tls or bool(self.mqtt_tls_ca or self.mqtt_tls_cert))

    @property
    def mysql(self) -> Address | None:
        """The database server, with its port; None for SQLite."""
        if self.mysql_host is None:
            return None
        at = mysql_address(self.mysql_host)
        return Address(at.host, at.port or 3306, self.mysql_tls_ca is not None)


NAMES = {name.upper(): field for name, field in Settings.model_fields.items()}
"""Every setting by its name in the environment."""
