"""What the fault suite needs: its gate, its real servers, one running service for the faults that leave it alive.

It takes its time and kills processes, so it runs only when asked: `make chaos`, or with CHAOS=1 in the environment

    CHAOS=1 .venv/bin/python -m pytest tests/chaos/test_broker.py
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.chaos.fleet import Fleet
from tests.chaos.proxy import Proxy
from tests.chaos.report import Line, as_text, write_markdown
from tests.chaos.story import Story
from tests.chaos.world import World, new_world, storage
from tests.serve.service import Service, running

CONFIG = Path(__file__).with_name("config.yaml")
TIMEOUT_S = 900
LINES = pytest.StashKey[list[Line]]()

Tell = Callable[..., AbstractContextManager[Story]]
"""`with tell("a fault") as story`: vehicles of the shared service, and the books of what becomes of their frames."""
Teller = Callable[..., AbstractContextManager[Story]]
"""`with teller(own_world, own, "a fault") as story`: the same for a service of one's own."""

# Left out of every run that does not ask for it; named without asking, pytest says that it ran no test and fails.
collect_ignore_glob = [] if os.environ.get("CHAOS") else ["test_*.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Markers, and the table's lines."""
    config.addinivalue_line("markers", "quick: a fault that `make chaos-quick` makes too")
    config.addinivalue_line("markers", "soak: runs for long")
    config.stash[LINES] = []


def pytest_itemcollected(item: pytest.Item) -> None:
    """A fault lasts longer than other tests do."""
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a service of their own come first, while the shared one does not yet take its share of the cores."""
    items.sort(key=lambda item: "service" in getattr(item, "fixturenames", ()))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table."""
    if lines := config.stash.get(LINES, []):
        terminalreporter.section("faults")
        for line in as_text(lines):
            terminalreporter.write_line(line)
        if path := os.environ.get("CHAOS_REPORT"):
            write_markdown(lines, Path(path))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[servers.MariaDb]:
    """A database server that these tests may stop and kill."""
    with servers.mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def storage_and_proxy() -> Iterator[tuple[servers.Gcs, Proxy]]:
    """The storage, and what stands before it."""
    with storage() as both:
        yield both


@pytest.fixture(scope="session")
def world(mariadb: servers.MariaDb, storage_and_proxy: tuple[servers.Gcs, Proxy]) -> Iterator[World]:
    """The servers of the shared service."""
    with new_world(mariadb, *storage_and_proxy) as world:
        yield world


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Service]:
    """One service for the faults that it survives."""
    with running(tmp_path_factory.mktemp("service"), config=CONFIG, **world.settings()) as service:
        yield service


@pytest.fixture
def own_world(mariadb: servers.MariaDb, storage_and_proxy: tuple[servers.Gcs, Proxy]) -> Iterator[World]:
    """Servers for one test that starts a service of its own: two at one broker would take each other's frames."""
    with new_world(mariadb, *storage_and_proxy) as world:
        yield world


@pytest.fixture
def teller(request: pytest.FixtureRequest) -> Teller:
    """See `Teller`."""

    @contextlib.contextmanager
    def teller(world: World, service: Service, name: str, **fleet: Any) -> Iterator[Story]:
        with Fleet(world.broker.port, **fleet) as vehicles:
            yield Story(name, world, service, vehicles, request.config.stash[LINES].append)

    return teller


@pytest.fixture
def tell(teller: Teller, world: World, service: Service) -> Tell:
    """See `Tell`."""
    return partial(teller, world, service)
