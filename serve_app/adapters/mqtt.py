"""The connection to the broker: paho's own thread receives, any thread may publish."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

_log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 24 * 3600
"""How long the broker keeps control messages for a service that is down."""
KEEPALIVE_S = 15
LONGEST_RECONNECT_S = 5
QUEUED_ALERTS = 1000
"""Alerts kept while the broker is away; frames are not, since nobody watches them then."""
UNSENT_RELAY_BYTES = 32 * 2**20
"""Relayed frames that may wait for the socket; beyond, frames are looked at and not relayed, and counted."""
AVAILABLE_TOPIC = "dms/available"
# Control messages at QoS 1, so that the broker keeps them while we are away; frames at QoS 0.
_SUBSCRIPTIONS = {"open_stream": 1, "close_stream": 1, "stream/#": 0}
# The embedded broker keeps order within a filter only, so there must be one for all (docs/adr/0010).
_EMBEDDED_SUBSCRIPTIONS = {"#": 1}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how to be let in.

    Args:
        host: Name or address.
        port: TCP port.
        client_id: Stable and unique, since the broker keeps a session under it.
        username: None without one.
        password: None without one.
        tls: Whether to encrypt.
        tls_ca: CA file; None means the system's.
        tls_cert: Client certificate, with `tls_key`.
        tls_key: Its key.
        embedded: Whether it is the embedded broker.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    embedded: bool = False

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"


class MqttConnection:
    """Keeps the connection, subscribes anew after every connect, says `online` and, by last will, `offline`.

    Args:
        address: See `BrokerAddress`.
        on_message: Takes (topic, payload) on paho's thread. A QoS 1 message is acknowledged when it returns True; after
            False the broker keeps it for the next connection.
    """

    def __init__(self, address: BrokerAddress, on_message: Callable[[str, bytes], bool]) -> None:
        self._address = address
        self._on_message = on_message
        self._crash: BaseException | None = None
        self._state = "not connected yet"
        self._available = "online"  # what is said of the service after every connect
        self._client = new_client(address, address.client_id, manual_ack=True)
        self._unsent: deque[tuple[mqtt.MQTTMessageInfo, int]] = deque()  # relayed frames that the socket has not taken
        self._unsent_bytes = 0
        self._client.max_queued_messages_set(QUEUED_ALERTS)
        self._client.will_set(AVAILABLE_TOPIC, "offline", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._unreachable
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received

    def start(self) -> None:
        """Connect in the background and stay connected."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = 65535
        self._client.connect_async(
            self._address.host, self._address.port, KEEPALIVE_S, clean_start=False, properties=properties
        )
        self._client.loop_start()

    def relay(self, topic: str, payload: bytes) -> bool:
        """Send a frame's base64 at QoS 0; to be called from `on_message` only.

        Returns:
            False when it was given up, because the broker is away or does not take what was sent before.
        """
        while self._unsent and self._unsent[0][0].is_published():
            self._unsent_bytes -= self._unsent.popleft()[1]
        if self._unsent_bytes > UNSENT_RELAY_BYTES:
            return False
        sent = self._client.publish(topic, payload)
        if sent.rc != mqtt.MQTT_ERR_SUCCESS:
            return False
        self._unsent.append((sent, len(payload)))
        self._unsent_bytes += len(payload)
        return True

    def say_offline(self) -> mqtt.MQTTMessageInfo:
        """Say that frames are not taken any more; the connection stays, for what is still to be said."""
        self._available = "offline"
        return self._say_available()

    def publish(self, topic: str, payload: bytes | str) -> None:
        """Send a message at QoS 1, from any thread; while the broker is away it waits, with `QUEUED_ALERTS` at most."""
        self._client.publish(topic, payload, qos=1)

    def stop(self) -> None:
        """Say `offline` and disconnect."""
        with contextlib.suppress(RuntimeError, ValueError):  # what paho raises when the broker is away
            self.say_offline().wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def state(self) -> str:
        """`connected` once the broker sends us what we subscribed to, else why it does not."""
        return self._state

    def check(self) -> None:
        """Find out whether messages are still taken.

        Raises:
            RuntimeError: The receiving thread is dead; only a new process helps.
        """
        if self._crash is not None:
            raise RuntimeError("taking an MQTT message failed") from self._crash
        thread = self._client._thread  # noqa: SLF001 - paho offers no other way to see that its thread has ended
        if thread is None or not thread.is_alive():
            raise RuntimeError("the MQTT thread has ended")

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            self._state = f"refused: {reason}"
            _log.error("the broker at %r refused the connection: %s", self._address, reason)
            return
        # Always: a broker that was restarted without its state has forgotten us.
        subscriptions = _EMBEDDED_SUBSCRIPTIONS if self._address.embedded else _SUBSCRIPTIONS
        client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in subscriptions.items()])

    def _unreachable(self, _client: mqtt.Client, _data: Any) -> None:
        # paho calls this while it handles the error, and does not hand it over
        state = f"unreachable: {sys.exc_info()[1]}"
        if state != self._state:
            _log.error("the broker at %r is %s", self._address, state)
        self._state = state

    def _subscribed(self, _client: mqtt.Client, _data: Any, _id: int, reasons: list[ReasonCode], _props: Any) -> None:
        if refused := [str(reason) for reason in reasons if reason.is_failure]:
            self._state = f"subscription refused: {refused[0]}"
            _log.error("the broker at %r refused a subscription: %s", self._address, refused[0])
            return
        self._state = "connected"
        self._say_available()
        _log.info("connected to the broker at %r", self._address)

    def _say_available(self) -> mqtt.MQTTMessageInfo:
        return self._client.publish(AVAILABLE_TOPIC, self._available, qos=1, retain=True)

    def _disconnected(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        self._unsent.clear()  # paho has thrown them away with its socket
        self._unsent_bytes = 0
        if not self._state.startswith("refused"):
            self._state = f"disconnected: {reason}"
        if reason.is_failure:
            _log.warning("lost the broker at %r: %s", self._address, reason)

    def _received(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            # A retained one is not wanted: an old open_stream would open a trip at every reconnect.
            taken = message.retain or self._on_message(message.topic, bytes(message.payload))
        except UnicodeDecodeError:
            _log.warning("a topic that is no UTF-8 was ignored")
            taken = True
        except Exception as error:
            self._crash = error  # a fault of ours: seen by check(), which has the process replaced
            raise
        if taken:
            self._client.ack(message.mid, message.qos)


def new_client(address: BrokerAddress, client_id: str, *, manual_ack: bool = False) -> mqtt.Client:
    """A client of MQTT 5 that may enter there; not connected yet.

    Args:
        address: Where, and as whom.
        client_id: Unique there.
        manual_ack: Whether messages are acknowledged by hand.
    """
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5, manual_ack=manual_ack)
    client.reconnect_delay_set(1, LONGEST_RECONNECT_S)
    if address.username is not None:
        client.username_pw_set(address.username, address.password)
    if address.tls:
        client.tls_set(
            str(address.tls_ca) if address.tls_ca else None,
            str(address.tls_cert) if address.tls_cert else None,
            str(address.tls_key) if address.tls_key else None,
            tls_version=ssl.PROTOCOL_TLS_CLIENT,
        )
    client.on_socket_open = _send_at_once
    return client


def _send_at_once(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    """Else a relayed frame waits until the one before it is acknowledged, which at 80 a second the next one brings."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
