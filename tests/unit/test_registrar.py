"""Vehicles become known to the database, however long that takes."""

from __future__ import annotations

import threading

import pytest

from serve_app import registrar as registrar_module
from serve_app.registrar import Registrar
from tests.builders import vehicle_id
from tests.fakes.stores import FakeMetricsStore
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar_module, "RETRY_S", 0.001)


def test_vehicles_are_registered_though_the_database_fails() -> None:
    store = FakeMetricsStore()
    store.failures = [OSError("away"), RuntimeError("two\nlines")]
    registrar = Registrar(lambda: store)
    for number in range(5):
        registrar.register(vehicle_id(number))
    assert eventually(lambda: store.vehicles == {vehicle_id(number) for number in range(5)})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_without_a_text_does_not_end_it() -> None:
    store = FakeMetricsStore()
    store.failures = [TimeoutError()]
    registrar = Registrar(lambda: store)
    registrar.register(vehicle_id())
    assert eventually(lambda: store.vehicles)


def test_a_vehicle_that_opens_again_and_again_keeps_no_other_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registrar_module, "MOST_WAITING", 3)
    go_on = threading.Event()
    store = FakeMetricsStore()

    def open_slowly() -> FakeMetricsStore:
        assert go_on.wait(5)
        return store

    registrar = Registrar(open_slowly)
    for number in (0, 0, 0, 1, 1, 2, 2, 3):
        registrar.register(vehicle_id(number))
    assert str(vehicle_id(3)) in caplog.text, "the fourth is said to be left out"
    go_on.set()
    assert eventually(lambda: store.vehicles == {vehicle_id(number) for number in range(3)})
