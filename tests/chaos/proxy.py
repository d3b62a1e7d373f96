"""A TCP proxy that a test may tell to misbehave while the service is talking through it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Literal

from tests.servers import HOST, free_port

Mode = Literal["pass", "503", "cut", "stall", "refuse"]
"""pass: as if it were not there; 503: every HTTP request is answered so; cut: a connection dies after `cut_after_bytes`
from the client; stall: connections are taken and nothing is answered, ever; refuse: nobody listens."""

_PIECE = 16 * 1024


@dataclass(eq=False, slots=True)
class _Connection:
    """One client; `mode` is that of the time it came, except that a passing one may come to stall."""

    client: socket.socket
    mode: Mode
    upstream: socket.socket | None = None
    from_client: int = field(default=0)  # bytes

    def close(self) -> None:
        for end in (self.client, self.upstream):
            if end is not None:
                with contextlib.suppress(OSError):
                    # a reset, not an orderly end: what a cable that is cut looks like to a library that retries
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


class Proxy:
    """Listens on a port of 127.0.0.1 of its own and passes on to another.

    Connections that stall do so for good, also after the mode has changed: only the client's own patience ends them.

    Args:
        upstream: The port to pass on to.

    Attributes:
        port: Where it listens.
        hits: Connections that met something else than `pass` since the mode was last set.
    """

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self.hits = 0
        self._upstream = upstream
        self._mode: Mode = "pass"
        self._cut_after_bytes = 0
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._listen()

    @property
    def url(self) -> str:
        """For HTTP."""
        return f"http://{HOST}:{self.port}"

    def set(self, mode: Mode, *, cut_after_bytes: int = 0) -> None:
        """Behave so from now on; connections that pass feel it too."""
        with self._lock:
            self._mode, self._cut_after_bytes, self.hits = mode, cut_after_bytes, 0
            passing = [one for one in self._connections if one.mode == "pass"]
            for one in passing if mode == "stall" else ():
                one.mode = "stall"
        for one in passing if mode not in {"pass", "stall"} else ():
            one.close()
        if mode == "refuse":
            self._deafen()
        elif self._listener is None:
            self._listen()

    def close(self) -> None:
        """End it and every connection through it."""
        self._deafen()
        for one in list(self._connections):
            one.close()

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self._listener,), name="proxy", daemon=True).start()

    def _deafen(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed under us
            while True:
                client, _ = listener.accept()
                with self._lock:
                    one = _Connection(client, self._mode)
                    self._connections.add(one)
                    self.hits += one.mode in {"503", "stall"}
                threading.Thread(target=self._serve, args=(one,), name="proxied", daemon=True).start()

    def _serve(self, one: _Connection) -> None:
        try:
            if one.mode == "503":
                _answer_503(one.client)
                return
            if one.mode != "stall":
                one.upstream = socket.create_connection((HOST, self._upstream))
                back = threading.Thread(target=self._answers, args=(one,), name="answers", daemon=True)
                back.start()
            while piece := one.client.recv(_PIECE):
                if one.mode == "stall" or one.upstream is None:
                    continue
                one.from_client += len(piece)
                if one.mode == "cut" and one.from_client > self._cut_after_bytes:
                    one.upstream.sendall(piece[: len(piece) // 2])
                    with self._lock:
                        self.hits += 1
                    return
                one.upstream.sendall(piece)
        except OSError:
            pass  # one of the two has gone, and so does the connection
        finally:
            one.close()
            with self._lock:
                self._connections.discard(one)

    def _answers(self, one: _Connection) -> None:
        assert one.upstream is not None
        try:
            while piece := one.upstream.recv(_PIECE):
                if one.mode != "stall":
                    one.client.sendall(piece)
        except OSError:
            pass  # likewise
        if one.mode != "stall":
            one.close()


def _answer_503(client: socket.socket) -> None:
    """Take one whole request, so that its sender is listening, and refuse it."""
    with client.makefile("rb") as request:
        length = 0
        while (line := request.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        request.read(length)
    client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    client.recv(1)  # until the other side has gone: closing before it has read would reset the answer away
