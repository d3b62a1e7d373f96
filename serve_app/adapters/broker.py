"""The embedded MQTT broker: rumqttd (package `iotcore`) on 127.0.0.1 in a child process, for when there is no other.

    with EmbeddedBroker(port=1883):
        ...  # MQTT 3.1.1 and 5 clients may connect to 127.0.0.1:1883

rumqttd speaks each protocol version on a port of its own, so a small front door on the one public port reads the first
bytes of a connection and passes it to the listener of its version. Why, and what else was found: docs/adr/0010.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from models.logs import set_up_logs

HOST = "127.0.0.1"
MAX_PAYLOAD_BYTES = 4 * 2**20
"""A bigger message ends its sender's connection; room for the base64 of the largest frame that settings allow."""

_CHUNK_BYTES = 256 * 1024
_CONNECT_TIMEOUT_S = 10.0
_GOODBYE_S = 1.0
"""What rumqttd gets to hang up by itself on a client that has left; also how late the will of one that vanished is."""
_KEEPALIVE_MAX = b"\xff\xff"
_READY = "ready"

_CONFIG = """
id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
# What a subscriber may fall behind, per topic filter: older messages are dropped.
max_segment_size = 8388608
max_segment_count = 4
# The Gateway subscribes to `#` (docs/adr/0010), so its frames and everybody's control messages share one log.
[router.custom_segment.'#']
max_segment_size = 8388608
max_segment_count = 16
"""
_LISTENER = """
[v{version}.1]
name = "v{version}"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v{version}.1.connections]
connection_timeout_ms = 60000
max_payload_size = {max_payload_bytes}
max_inflight_count = 100
dynamic_filters = true
"""


class BrokerError(Exception):
    """The embedded broker did not start; the message is one line for a person."""


class EmbeddedBroker:
    """A broker in a child process that ends with this one, even when this one is killed.

    Args:
        port: On 127.0.0.1, for MQTT 3.1.1 and 5 alike.
        ready_timeout_s: How long `start` waits.
    """

    def __init__(self, *, port: int, ready_timeout_s: float = 30.0) -> None:
        self.port = port
        self._ready_timeout_s = ready_timeout_s
        self._child: subprocess.Popen[str] | None = None

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start the child and wait until it takes connections.

        Raises:
            BrokerError: The port is taken, or the child ended or did not answer in time.
        """
        if self.alive:
            return
        self.stop()
        # A session of its own: Ctrl-C in a terminal must not end the broker before the trips are flushed.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "serve_app.adapters.broker", "--port", str(self.port)],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        said = _line(self._child, self._ready_timeout_s)
        if said != _READY:
            self.stop()
            raise BrokerError(said or f"the embedded broker did not start on port {self.port}")

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the child; harmless when it has ended."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _line(child: subprocess.Popen[str], timeout_s: float) -> str:
    """The one line that the child says of its start; empty when it says none in time."""
    if child.stdout is None or not select.select([child.stdout], [], [], timeout_s)[0]:
        return ""
    return child.stdout.readline().strip()


# The child.


def main() -> int:
    """Run the broker until stdin ends or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.adapters.broker", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    port: int = parser.parse_args().port
    # rumqttd logs an error for each client that goes without a word, which is what devices do.
    set_up_logs("Broker", level=logging.WARNING)
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # three descriptors a client
    try:
        asyncio.run(_serve(port))
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        sys.stdout.write(
            f"MQTT_BROKER_PORT: port {port} {why}: set MQTT_BROKER_PORT to a free one "
            "or MQTT_BROKER_URL to the broker that runs there\n"
        )
        return 1
    return 0


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin, _on_stdin, stop)
    door = _FrontDoor()
    # First the public port, so that a taken one is known before anything else stands.
    server = await asyncio.start_server(door.pass_on, HOST, port, limit=_CHUNK_BYTES, backlog=1024)
    await door.open()
    sys.stdout.write(f"{_READY}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    os._exit(0)  # rumqttd has no way to end but the process


def _on_stdin(stop: asyncio.Event) -> None:
    """Whatever may arrive there, only its end counts: the parent, which holds the other side, is gone."""
    if not os.read(sys.stdin.fileno(), 1024):
        stop.set()


class _FrontDoor:
    """Passes each connection to the listener of its protocol version."""

    def __init__(self) -> None:
        self._port_of: dict[int, int] = {}
        self._standing = asyncio.Event()

    async def open(self) -> None:
        """Start rumqttd on two free ports and wait until both accept."""
        from iotcore import IotCoreBroker  # noqa: PLC0415 - 14 MB that only the child needs

        ports = _free_ports(2)
        config = _CONFIG + "".join(
            _LISTENER.format(version=version, host=HOST, port=port, max_payload_bytes=MAX_PAYLOAD_BYTES)
            for version, port in zip((4, 5), ports, strict=True)
        )
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(config)
            file.flush()
            IotCoreBroker(config_path=file.name).start()
        for port in ports:
            await _accepts(port)
        # By the protocol level in CONNECT; 3 is MQTT 3.1, which rumqttd refuses in its own words.
        self._port_of = {3: ports[0], 4: ports[0], 5: ports[1]}
        self._standing.set()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client to its end; an end on either side ends the other, which is what fires a last will."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(writer.close)
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    head, level = await _connect_head(reader)
                    await self._standing.wait()
                    in_reader, in_writer = await asyncio.open_connection(HOST, self._port_of[level], limit=_CHUNK_BYTES)
                stack.callback(in_writer.close)
                in_writer.write(head)
                to_broker = asyncio.create_task(_pump(reader, in_writer), name="to broker")
                to_client = asyncio.create_task(_pump(in_reader, writer), name="to client")
                try:
                    await asyncio.wait((to_broker, to_client), return_when=asyncio.FIRST_COMPLETED)
                    # rumqttd must not see the end of a client that has just said DISCONNECT: it frees the connection's
                    # number at the one and, told of the other, ends whoever got that number meanwhile.
                    await asyncio.wait((to_client,), timeout=_GOODBYE_S)
                finally:
                    to_broker.cancel()
                    to_client.cancel()


async def _connect_head(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """The start of CONNECT up to and with its keepalive, and its protocol level (MQTT 5.0, section 3.1).

    A keepalive of 0 (none, allowed by MQTT, refused by rumqttd) becomes the longest there is.

    Raises:
        ValueError: It is no CONNECT of a known version.
    """
    head = await reader.readexactly(2)
    while head[-1] & 0x80 and len(head) < 5:  # noqa: PLR2004 -- the remaining length has at most four bytes
        head += await reader.readexactly(1)
    name = await reader.readexactly(2)
    size = int.from_bytes(name)
    if head[0] != 0x10 or size not in (4, 6):  # noqa: PLR2004 -- "MQTT" and, in 3.1, "MQIsdp"
        raise ValueError("not a CONNECT packet")
    rest = await reader.readexactly(size + 4)
    level = rest[size]
    if level not in (3, 4, 5):
        raise ValueError(f"MQTT protocol level {level}")
    keepalive = rest[-2:] if any(rest[-2:]) else _KEEPALIVE_MAX
    return head + name + rest[:-2] + keepalive, level


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind((HOST, 0))
        return [int(s.getsockname()[1]) for s in sockets]


async def _accepts(port: int, timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


if __name__ == "__main__":
    sys.exit(main())
