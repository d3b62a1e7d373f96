"""What Prometheus' own tool says of the files in deploy/prometheus."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.promql import ALERTS, PROMETHEUS
from tests.servers import program

STORIES = Path(__file__).with_name("alerts.yml")


@pytest.mark.parametrize(
    "args", [("check", "config", PROMETHEUS), ("check", "rules", ALERTS), ("test", "rules", STORIES)], ids=str
)
def test_promtool_has_nothing_to_say(args: tuple[str, str, Path]) -> None:
    done = subprocess.run([program("promtool", "prometheus"), *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
