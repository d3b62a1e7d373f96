"""Which broker the settings name."""

from __future__ import annotations

from serve_app.adapters.mqtt import BrokerAddress
from serve_app.settings import Address, Settings


def broker_address(settings: Settings) -> BrokerAddress:
    """The configured broker, or the embedded one."""
    at = settings.mqtt or Address("127.0.0.1")
    return BrokerAddress(
        host=at.host,
        port=at.port or settings.mqtt_broker_port,
        client_id=settings.mqtt_client_id,
        username=settings.mqtt_username,
        password=settings.mqtt_password.get_secret_value() if settings.mqtt_password else None,
        tls=at.tls,
        tls_ca=settings.mqtt_tls_ca,
        tls_cert=settings.mqtt_tls_cert,
        tls_key=settings.mqtt_tls_key,
        embedded=settings.mqtt is None,
    )
