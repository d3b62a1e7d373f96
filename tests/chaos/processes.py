"""The processes of a service, found by what they were started with, and killed by number, never by name."""

from __future__ import annotations

import os
import signal

import psutil

from tests.serve.service import Service
from tests.waiting import eventually


def replicas(service: Service, deployment: str) -> list[psutil.Process]:
    """The processes of a Serve deployment, oldest first."""
    return named(service, f"ray::ServeReplica:dms:{deployment}")


def named(service: Service, title: str) -> list[psutil.Process]:
    """The service's processes whose title begins so, oldest first."""
    found = [process for process in _all(service) if _name(process).startswith(title)]
    return sorted(found, key=lambda process: process.create_time())


def head(service: Service) -> list[psutil.Process]:
    """Ray's own: its head with the dashboard, and Serve's controller."""
    of_ours = ("ray::ServeReplica:", "ray::Vehicle", "ray::IDLE")
    return [process for process in _all(service) if not _name(process).startswith(of_ours)]


def kill(pid: int) -> None:
    """Without a word, as the kernel does when memory is short; one that has ended already is left at that."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    assert eventually(lambda: not psutil.pid_exists(pid) or _is_zombie(pid), 10)


def kill_everything(service: Service) -> None:
    """Every process of the service, Ray's own included, as a power cut does.

    They are stopped before the first is killed: none may see another die and put things in order.
    """
    while processes := _all(service):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in processes:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    continue
        psutil.wait_procs(processes, 10)
    service.process.wait(10)


def _all(service: Service) -> list[psutil.Process]:
    """By their environment, which all of them have from the first, wherever Ray has put them in the tree."""
    mine = service.environ["DATA_DIR"]
    return [process for process in psutil.process_iter() if _data_dir(process) == mine]


def _data_dir(process: psutil.Process) -> str | None:
    try:
        found: str | None = process.environ().get("DATA_DIR")
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return None
    return found


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
