"""`make run`: checks the settings, starts Ray and `serve run serve_config.yaml`, and owns their orderly end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from models.fetch import fetch
from models.logs import ENCODING, as_json, set_up_logs
from serve_app.serve_config import APP, ConfigError, checked_config
from serve_app.settings import PROJECT, Settings, SettingsError, load_settings, passthrough
from serve_app.settings.values import is_loopback

_log = logging.getLogger(__name__)

CONFIG = PROJECT / "serve_config.yaml"
CHILD_END_S = 30.0
POLL_S = 0.5
EXPORTERS = "prom_metrics_service_discovery.json"
"""Ray keeps the addresses of all nodes' exporters in it."""
RAY_AGENT_PORT = 52365
"""Ray's dashboard agent listens there, once Ray has started."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m serve_app run`."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="Serve config file (serve_config.yaml)")


def main(config: Path = CONFIG) -> int:
    """Run the service until SIGINT, SIGTERM or SIGHUP.

    Returns:
        0 when every trip was stored at the end; 2 for wrong settings; 1 when the service could not be started, ended by
        itself, or left trips unstored.
    """
    try:
        os.environ.update(passthrough())
        settings = load_settings(probe=True)
        check_encoding()
    except SettingsError as error:
        sys.stderr.writelines(f"{line}\n" for line in error.lines)
        return 2
    _set_up_logs()
    try:
        with contextlib.ExitStack() as stack:
            _check_ports(settings)
            stack.enter_context(only_one(settings.data_dir))
            os.environ.update(environment(settings))
            config = checked_config(config, settings)
            fetch(settings.data_dir, say=_log.info)
            return _serve(settings, config)
    except (StartError, ConfigError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:  # before there was anything to end in order
        return 130


def check_encoding() -> None:
    """Refuse what Ray would refuse of the logs' encoding, after it has been started.

    Raises:
        SettingsError: It is neither text nor JSON.
    """
    if (given := os.environ.get(ENCODING, "")) not in {"", "TEXT", "JSON"}:
        raise SettingsError([f"{ENCODING}={given}: should be 'TEXT' or 'JSON'"])


def _set_up_logs() -> None:
    set_up_logs("run", text="%(asctime)s %(levelname)s %(message)s")


class StartError(Exception):
    """The service cannot be started here and now; the message is for a person."""


def _check_ports(settings: Settings) -> None:
    wanted = [("HTTP_HOST, ", "HTTP_PORT", settings.http_host, settings.http_port, "a free one")]
    if settings.mqtt is None:
        instead = "a free one, or MQTT_BROKER_URL to the broker that runs there"
        wanted.append(("", "MQTT_BROKER_PORT", "127.0.0.1", settings.mqtt_broker_port, instead))
    faults: list[str] = []
    for host_name, port_name, host, port, instead in wanted:
        fault = port_fault(host, port)
        if fault is None:
            continue
        if fault.errno == errno.EADDRINUSE:
            faults.append(f"{port_name}: port {port} is taken; set it to {instead}")
        else:
            faults.append(f"{host_name}{port_name} {port}: nothing can listen on {host}:{port}: {fault.strerror}")
    if faults:
        raise StartError("\n".join(faults))


def port_fault(host: str, port: int) -> OSError | None:
    """Why nothing can listen there; None when it can."""
    if port == RAY_AGENT_PORT:
        return OSError(errno.EADDRINUSE, "Ray's dashboard agent will")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Holds the folder: two services would finish each other's journals and take each other's session at the broker.

    Raises:
        StartError: Another one holds it.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # people's pictures lie there
    try:
        with FileLock(data_dir / "service.lock", timeout=0):
            yield
    except Timeout as error:
        raise StartError(f"DATA_DIR: another service uses {data_dir}; choose another folder") from error


def environment(settings: Settings) -> Mapping[str, str]:
    """What Ray's processes need in their environment; their settings they read themselves."""
    path = [str(PROJECT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    wanted = {
        "PYTHONPATH": os.pathsep.join(path),
        "DATA_DIR": str(settings.data_dir),
    }
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "YOLO_AUTOINSTALL": "false",
        "RAY_preload_python_modules": "actors.vehicle_actor",  # see serve_app.ready_processes
        # A trip is an actor and a process: Ray's head keeps 100,000 and more of them. A push is a task: it keeps none.
        "RAY_maximum_gcs_destroyed_actor_cached_count": "100",
        "RAY_maximum_gcs_dead_worker_cached_count": "100",
        "RAY_task_events_report_interval_ms": "0",
        # What Serve does ten times a second for itself is a tenth of a core (docs/performance.md).
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
        # One event loop in a replica, not three: each call would pass through all of them. Nothing of ours holds it up.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        # Ray would have every worker at 15, hardly before the Detector (19), which takes all cores there are.
        "RAY_worker_niceness": "0",
        # Ray would put those that are alike into one, and its count behind it.
        **({"RAY_DEDUP_LOGS": "0"} if as_json() else {}),
        "GRPC_VERBOSITY": "ERROR",  # else a line for every child that a process with gRPC threads starts
        # Everything of a Ray on one machine listens on loopback only (docs/adr/0003).
        **({} if os.environ.get("RAY_ADDRESS") else {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}),
    }
    return {**{name: value for name, value in defaults.items() if name not in os.environ}, **wanted}


def _serve(settings: Settings, config: Path) -> int:
    import ray  # noqa: PLC0415 - not before the settings are right and the environment is set

    # A Ray of our own, unless RAY_ADDRESS names a cluster: never one that happens to run on this machine.
    address = os.environ.get("RAY_ADDRESS") or "local"
    try:
        context: Any = ray.init(address=address, namespace="serve", log_to_driver=False, logging_level=logging.WARNING)
    except (ValueError, ConnectionError) as error:
        raise StartError(f"RAY_ADDRESS={address}: {error}") from error
    _set_up_logs()  # again: ray.init has its own way with JSON
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # only now: ray.init puts its own handler in place
        signal.signal(number, lambda *_: stop.set())
    _log.info("Ray's dashboard: http://%s", context.dashboard_url)
    _log.info("Prometheus finds the exporters in %s", Path(context.address_info["session_dir"]).parent / EXPORTERS)
    # In a session of its own: Ctrl-C must reach this process alone, which ends the service in order.
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.serve.scripts", "run"),  # what the program `serve` is
            str(config),
            f"--address={ray.get_runtime_context().gcs_address}",
            f"--app-dir={PROJECT}",
        ],
        cwd=PROJECT,
        start_new_session=True,
    )
    try:
        failure = _wait_until_ready(child, stop)
        ready = not failure and not stop.is_set()
        if ready:
            at = settings.mqtt
            broker = f"{at.host}:{at.port}" if at else f"embedded at 127.0.0.1:{settings.mqtt_broker_port}"
            host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
            if not is_loopback(settings.http_host) and "public_url" not in settings.model_fields_set:
                _log.warning("PUBLIC_URL is empty: HTTP answers only callers that name it 127.0.0.1 or localhost")
            _log.info("ready: http://%s:%d, broker %s", host, settings.http_port, broker)
            failure = _wait_for_end(child, stop)
        if failure:
            _log.error("%s", failure)
        stored = _drain(settings, was_ready=ready)
        return 0 if stored and not failure else 1
    finally:
        _end(child)
        ray.shutdown()


def _wait_until_ready(child: subprocess.Popen[bytes], stop: threading.Event) -> str | None:
    """Why the service could not be started; None when it is ready or was asked to end."""
    from ray import serve  # noqa: PLC0415
    from ray.serve.schema import ApplicationStatus  # noqa: PLC0415

    while not stop.wait(POLL_S):
        if child.poll() is not None:
            return f"`serve run` has ended with exit code {child.returncode}"
        app = serve.status().applications.get(APP)
        if app is not None and app.status == ApplicationStatus.DEPLOY_FAILED:
            return f"the service could not be started: {app.message.strip().splitlines()[-1]} (details above)"
        if app is not None and app.status == ApplicationStatus.RUNNING:
            return None
    return None


def _wait_for_end(child: subprocess.Popen[bytes], stop: threading.Event) -> str | None:
    """Why the service ended by itself; None when it was asked to."""
    while not stop.wait(POLL_S):
        if child.poll() is not None:
            return f"`serve run` has ended with exit code {child.returncode}"
    return None


def _drain(settings: Settings, *, was_ready: bool) -> bool:
    """Have the open trips flushed; whether all of them are stored."""
    from ray import serve  # noqa: PLC0415

    grace_s = settings.shutdown_grace_s
    app = serve.status().applications.get(APP)
    if app is None:
        return True
    gateways = app.deployments.get("Gateway")
    states: set[str] = {*gateways.replica_states} if gateways else set()
    if not was_ready and "RUNNING" not in states:  # there never was anyone who could open a trip
        return True
    _log.info("ending: open trips are flushed for up to %.0f s", grace_s)
    try:
        left = asyncio.run(asyncio.wait_for(_drain_gateway(grace_s), grace_s + 10))
    except Exception as error:  # noqa: BLE001 - Serve may fail in any way here, and Ray must go down all the same
        _log.error("the open trips could not be flushed: %s: %s", type(error).__name__, error)
        return False
    if left:
        _log.error("%d vehicles were not flushed within SHUTDOWN_GRACE_S=%.0f; the next start goes on", left, grace_s)
        return False
    _log.info("every trip is stored")
    return True


async def _drain_gateway(grace_s: float) -> int:
    from ray import serve  # noqa: PLC0415

    # In here: with Serve's router in the caller's loop (see `environment`) a handle needs one.
    left: int = await serve.get_deployment_handle("Gateway", APP).drain.remote(grace_s)
    return left


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(CHILD_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
