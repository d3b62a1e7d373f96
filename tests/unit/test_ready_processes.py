"""Processes kept ready: what passes must not end it. What Ray does is shown in tests/serve."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve_app import ready_processes
from serve_app.ready_processes import ReadyProcesses
from tests.waiting import until


def test_an_error_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[str] = []

    def nodes() -> list[dict[str, Any]]:
        looks.append("nodes")
        if len(looks) == 1:
            raise ConnectionError("no head")
        return [{"NodeID": "dying", "Alive": True}, {"NodeID": "dead", "Alive": False}]

    def order(node: dict[str, Any]) -> bool:
        looks.append(node["NodeID"])
        raise OSError("no answer")

    monkeypatch.setattr("ray.nodes", nodes)
    monkeypatch.setattr(ready_processes, "_order_missing", order)
    monkeypatch.setattr(ready_processes, "PAUSE_S", 0.001)
    monkeypatch.setattr(ready_processes, "CHECK_S", 0.003)

    async def story() -> None:
        keeping = asyncio.create_task(ReadyProcesses().keep_forever())
        await until(lambda: looks.count("dying") >= 3)
        keeping.cancel()

    asyncio.run(story())
    assert "dead" not in looks
    assert caplog.text.count("no head") == 1
    assert caplog.text.count("no answer") == 1


def test_what_is_taken_while_it_looks_is_missing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    ready = ReadyProcesses()

    def order(node: dict[str, Any]) -> bool:
        looks.append(node["NodeID"])
        if len(looks) == 1:
            ready.took()
        return False

    monkeypatch.setattr("ray.nodes", lambda: [{"NodeID": "well", "Alive": True}])
    monkeypatch.setattr(ready_processes, "_order_missing", order)
    monkeypatch.setattr(ready_processes, "PAUSE_S", 0.001)
    monkeypatch.setattr(ready_processes, "CALM_S", 0.0)

    async def story() -> None:
        keeping = asyncio.create_task(ready.keep_forever())
        await until(lambda: len(looks) >= 2)
        await asyncio.sleep(0.02)
        keeping.cancel()

    asyncio.run(story())
    assert len(looks) == 2
