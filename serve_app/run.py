"""`make run`: checks the settings, starts Ray and `serve run serve_config.yaml`, and owns their orderly end."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from serve_app.settings import PROJECT, Settings, SettingsError, load_settings, passthrough

_log = logging.getLogger(__name__)

CONFIG = PROJECT / "serve_config.yaml"
APP = "dms"
CHILD_END_S = 30.0
POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m serve_app run`."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="Serve config file (serve_config.yaml)")


def main(config: Path = CONFIG) -> int:
    """Run the service until SIGINT or SIGTERM; 2 for wrong settings, 1 when it could not be started or ended early."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        os.environ.update(passthrough())
        settings = load_settings(probe=True)
    except SettingsError as error:
        sys.stderr.writelines(f"{line}\n" for line in error.lines)
        return 2
    if taken := taken_ports(settings):
        sys.stderr.writelines(f"{line}\n" for line in taken)
        return 1
    os.environ.update(environment(settings))
    return _serve(settings, config)


def taken_ports(settings: Settings) -> list[str]:
    """One line for each port that the service needs and cannot have."""
    wanted = [("HTTP_PORT", settings.http_host, settings.http_port, "a free one")]
    if settings.mqtt is None:
        instead = "a free one, or MQTT_BROKER_URL to the broker that runs there"
        wanted.append(("MQTT_BROKER_PORT", "127.0.0.1", settings.mqtt_broker_port, instead))
    return [
        f"{name}: port {port} is taken; set it to {to}" for name, host, port, to in wanted if not is_free(host, port)
    ]


def is_free(host: str, port: int) -> bool:
    """Whether nothing listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


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
        "GRPC_VERBOSITY": "ERROR",  # else a line for every child that a process with gRPC threads starts
        # Everything of a Ray on one machine listens on loopback only (docs/adr/0003).
        **({} if "RAY_ADDRESS" in os.environ else {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}),
    }
    return {**{name: value for name, value in defaults.items() if name not in os.environ}, **wanted}


def _serve(settings: Settings, config: Path) -> int:
    import ray  # noqa: PLC0415 - not before the settings are right and the environment is set

    # A Ray of our own, unless RAY_ADDRESS names a cluster: never one that happens to run on this machine.
    context = ray.init(
        address=os.environ.get("RAY_ADDRESS", "local"),
        namespace="serve",
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # only now: ray.init puts its own handler in place
        signal.signal(number, lambda *_: stop.set())
    _log.info("Ray's dashboard: http://%s", context.dashboard_url)
    # In a session of its own: Ctrl-C must reach this process alone, which ends the service in order.
    child = subprocess.Popen(
        [
            Path(sys.executable).with_name("serve"),
            "run",
            str(_config(settings, config)),
            f"--address={ray.get_runtime_context().gcs_address}",
            f"--app-dir={PROJECT}",
        ],
        cwd=PROJECT,
        start_new_session=True,
    )
    try:
        failure = _watch(settings, child, stop)
        if failure:
            _log.error("%s", failure)
            return 1
        _drain(settings)
        return 0
    finally:
        _end(child)
        ray.shutdown()


def _watch(settings: Settings, child: subprocess.Popen[bytes], stop: threading.Event) -> str | None:
    """Wait for the end; returns why the service could not go on, None when it was asked to end."""
    from ray import serve  # noqa: PLC0415
    from ray.serve.schema import ApplicationStatus  # noqa: PLC0415

    ready = False
    while not stop.wait(POLL_S):
        if child.poll() is not None:
            return f"`serve run` has ended with exit code {child.returncode}"
        if ready:
            continue
        app = serve.status().applications.get(APP)
        if app is None:
            continue
        if app.status == ApplicationStatus.DEPLOY_FAILED:
            return f"the service could not be started: {app.message.strip().splitlines()[-1]} (details above)"
        if app.status == ApplicationStatus.RUNNING:
            ready = True
            broker = settings.mqtt or f"embedded at 127.0.0.1:{settings.mqtt_broker_port}"
            _log.info("ready: http://%s:%d/healthz, broker %s", settings.http_host, settings.http_port, broker)
    return None


def _drain(settings: Settings) -> None:
    from ray import serve  # noqa: PLC0415
    from ray.serve.exceptions import RayServeException  # noqa: PLC0415

    try:
        gateway = serve.get_deployment_handle("Gateway", APP)
        _log.info("ending: open trips are flushed for up to %.0f s", settings.shutdown_grace_s)
        left = gateway.drain.remote(settings.shutdown_grace_s).result(timeout_s=settings.shutdown_grace_s + 10)
    except (RayServeException, TimeoutError) as error:
        _log.error("the open trips could not be flushed: %s", error)
        return
    if left:
        _log.error("%d vehicles were not flushed within SHUTDOWN_GRACE_S=%.0f", left, settings.shutdown_grace_s)
    else:
        _log.info("every trip is stored")


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(CHILD_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _config(settings: Settings, path: Path) -> Path:
    """The Serve config, with HTTP_HOST and HTTP_PORT where the settings differ from it."""
    import yaml  # noqa: PLC0415

    config = yaml.safe_load(path.read_text())
    http = {"host": settings.http_host, "port": settings.http_port}
    if config["http_options"] == http:
        return path
    config["http_options"] = http
    changed = settings.data_dir / "serve_config.yaml"
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.write_text(yaml.safe_dump(config, sort_keys=False))
    return changed
