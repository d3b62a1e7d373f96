"""What single settings may hold: paths of the project, addresses, URLs. No I/O."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from serve_app.adapters.footage import BASE_URL_MAX_CHARS, URL_MAX_CHARS, own_base_url

PROJECT = Path(__file__).resolve().parents[2]
"""The project's folder: relative paths in settings count from here, in every process alike."""

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # longer or empty ones fail only when they are looked up
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MQTT_TLS = {"": False, "mqtt": False, "tcp": False, "mqtts": True, "ssl": True}


class SecretInValueError(ValueError):
    """What was given holds a user and password, so it must not be shown."""

    def __init__(self, instead: str) -> None:
        super().__init__(f"should hold no user and password{instead}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Args:
        host: A name or an IP address, IPv6 without brackets.
        port: None when none was given.
        tls: Whether the scheme asked for it.
    """

    host: str
    port: int | None = None
    tls: bool = False


def mqtt_address(value: str) -> Address:
    """Read `host`, `host:port`, `mqtt://host[:port]` (or `tcp:`) or, for TLS, `mqtts://host[:port]` (or `ssl:`).

    Raises:
        ValueError: It is none of these.
    """
    scheme, _, rest = value.rpartition("://")
    if scheme.lower() not in _MQTT_TLS:
        raise ValueError("should be a host, host:port, mqtt://host:port or mqtts://host:port")
    host, port = _host_and_port(rest.removesuffix("/"), "should be a host, host:port, mqtt:// or mqtts://host:port")
    return Address(host, port, _MQTT_TLS[scheme.lower()])


def mysql_address(value: str) -> Address:
    """Read `host` or `host:port`.

    Raises:
        ValueError: It is neither.
    """
    return Address(*_host_and_port(value, "should be host or host:port"))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_and_port(value: str, right: str) -> tuple[str, int | None]:
    if "@" in value:
        raise SecretInValueError(": they have settings of their own")
    if _is_ip(value):
        return value, None
    try:
        parts = urlsplit(f"//{value}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(right) from None
    bare = f"[{host}]" if ":" in host else host
    known = value.lower() in {bare, f"{bare}:{port}"} and (_is_ip(host) or _HOST.fullmatch(host))
    if not known or port == 0:
        raise ValueError(right)
    return host, port


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def in_project(path: Path) -> Path:
    """`path` in full, from the project's folder on.

    Raises:
        ValueError: It begins with the home of a user who is none.
    """
    try:
        return PROJECT / path.expanduser()
    except RuntimeError:
        raise ValueError(f"should be a path; {path.parts[0]} is nobody's home") from None


def _mqtt(value: str) -> str:
    mqtt_address(value)
    return value


def _mysql(value: str) -> str:
    mysql_address(value)
    return value


def _host(value: str) -> str:
    if not (_is_ip(value) or _HOST.fullmatch(value)):
        raise ValueError("should be a host name or an IP address")
    return value


def _bucket(value: str) -> str:
    if not _BUCKET.fullmatch(value):
        raise ValueError("should be the bucket's name alone: lower-case letters, digits, dots, dashes")
    return value


def _public_url(value: str) -> str:
    url = value.rstrip("/")
    max_chars = BASE_URL_MAX_CHARS - len(own_base_url(""))
    if len(url) > max_chars:
        raise ValueError(f"should have at most {max_chars} characters, so that footage URLs fit into {URL_MAX_CHARS}")
    right = "should be http://host[:port] or https://host[:port]"
    if "@" in url:
        raise SecretInValueError(": people open it in a browser")
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:
        raise ValueError(right) from None
    plain = parts.scheme in ("http", "https") and not (parts.query or parts.fragment) and url.isascii()
    if not (plain and port_fits and parts.hostname and not re.search(r"\s", url)):
        raise ValueError(right)
    return url


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not re.fullmatch(r"[!-~]{1,256}", text):
        raise ValueError("should be 1 to 256 printable characters without spaces")
    return value


ProjectPath = Annotated[Path, AfterValidator(in_project)]
MqttUrl = Annotated[str, AfterValidator(_mqtt)]
MysqlHost = Annotated[str, AfterValidator(_mysql)]
Host = Annotated[str, AfterValidator(_host)]
Bucket = Annotated[str, AfterValidator(_bucket)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
