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
    orders: list[str] = []

    def order(node: dict[str, Any]) -> bool:
        orders.append(node["NodeID"])
        if node["NodeID"] == "dying":
            raise OSError("no answer")
        return len(orders) < 20

    nodes = [{"NodeID": "dying", "Alive": True}, {"NodeID": "dead", "Alive": False}, {"NodeID": "well", "Alive": True}]
    monkeypatch.setattr(ready_processes, "_order_missing", order)
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr(ready_processes, "PAUSE_S", 0.001)

    async def story() -> None:
        keeping = asyncio.create_task(ReadyProcesses().keep_forever())
        await until(lambda: orders.count("well") >= 5)
        assert not keeping.done()
        keeping.cancel()

    asyncio.run(story())
    assert "dead" not in orders
    assert caplog.text.count("no answer") == 1
