"""The vehicle's actor in a Ray of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from actors.ports import Home, Stores
from actors.vehicle_actor import EXIT_S, NAMESPACE, start_vehicle
from tests.builders import vehicle_config
from tests.waiting import eventually


@pytest.fixture
def running_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, namespace=NAMESPACE)
    yield
    ray.shutdown()


def no_stores() -> Stores:
    """Nothing is flushed here."""
    raise AssertionError("there is nothing to flush")


@pytest.mark.usefixtures("running_ray")
def test_it_ends_however_often_it_is_asked_to(tmp_path: Path) -> None:
    # A call to itself that came while Ray was ending it kept it from ending: once in a thousand trips the flush asked
    # just then, and the vehicle was blind from there on.
    folder = str(tmp_path)
    home = Home(journals=lambda: Path(folder), open_stores=no_stores)
    asks_all_the_time = vehicle_config(orphaned_after_s=0.01)
    start_vehicle(uuid.uuid4(), asks_all_the_time, home)
    assert eventually(lambda: not ray.util.list_named_actors(all_namespaces=True), EXIT_S - 2), "before it is killed"
