"""Vehicles become known to the database, however long that takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from serve_app import registrar as registrar_module
from serve_app.registrar import Registrar
from tests.builders import vehicle_id
from tests.fakes.stores import FakeMetricsStore


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar_module, "RETRY_S", 0.001)


def until(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + 1.0
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_vehicles_are_registered_though_the_database_fails() -> None:
    store = FakeMetricsStore()
    store.failures = [OSError("away"), RuntimeError("two\nlines")]
    registrar = Registrar(lambda: store, capacity=10)
    for number in range(5):
        registrar.register(vehicle_id(number))
    until(lambda: store.vehicles == {vehicle_id(number) for number in range(5)})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_without_a_text_does_not_end_it() -> None:
    store = FakeMetricsStore()
    store.failures = [TimeoutError()]
    registrar = Registrar(lambda: store, capacity=10)
    registrar.register(vehicle_id())
    until(lambda: store.vehicles)


def test_when_too_many_wait_the_newest_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()
    opening = threading.Event()
    store = FakeMetricsStore()

    def open_slowly() -> FakeMetricsStore:
        opening.set()
        assert go_on.wait(5)
        return store

    registrar = Registrar(open_slowly, capacity=2)
    registrar.register(vehicle_id(0))
    assert opening.wait(5)
    for number in range(1, 5):
        registrar.register(vehicle_id(number))
    assert [str(vehicle_id(number)) in caplog.text for number in range(5)] == [False, False, False, True, True]
    go_on.set()
    until(lambda: store.vehicles == {vehicle_id(number) for number in range(3)})
