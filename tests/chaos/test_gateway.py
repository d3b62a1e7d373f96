"""The Gateway ends under open trips: by force, and because another config is deployed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.chaos.conftest import CONFIG, Tell, Teller
from tests.chaos.fleet import slowly
from tests.chaos.processes import kill, replicas
from tests.chaos.world import World
from tests.serve.service import PROJECT, Service, running
from tests.waiting import eventually


@pytest.mark.quick
def test_the_gateway_is_killed_twice_in_one_trip(service: Service, tell: Tell) -> None:
    with tell("Gateway killed, twice in a trip", mark=slowly) as story:
        story.open()
        with story.fleet.driving():
            for _ in range(2):
                time.sleep(3)
                [gateway] = replicas(service, "Gateway")
                answered = story.answered()
                assert all(answered.values())
                with story.fault():
                    kill(gateway.pid)
                    story.gateway_is_dead(answered)
                story.flows_again()
            time.sleep(2)
        story.close()
        story.settle()


def test_another_config_is_deployed_while_trips_are_open(own_world: World, tmp_path: Path, teller: Teller) -> None:
    with (
        running(tmp_path, config=CONFIG, **own_world.settings()) as own,
        teller(own_world, own, "another config deployed, trips open", mark=slowly) as story,
    ):
        story.open()
        [gateway] = replicas(own, "Gateway")
        with story.fleet.driving():
            answered = story.answered()
            assert all(answered.values())
            with story.fault():
                _deploy(own, max_batch_size=8)
                assert eventually(lambda: not psutil.pid_exists(gateway.pid), 90), "the Gateway is replaced"
                story.gateway_is_dead(answered)
            story.flows_again()
            time.sleep(2)
        story.close()
        accounts = story.settle()
        assert not any(one.given_up for one in accounts), "the old Gateway brings its mailboxes to the actors first"


def _deploy(service: Service, **args: int) -> None:
    """What an operator does: the file, changed, by `serve deploy`."""
    path = Path(service.environ["DATA_DIR"]) / "serve_config.yaml"  # with the ports that this service has
    config = yaml.safe_load(path.read_text())
    config["applications"][0]["args"].update(args)
    changed = path.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump(config))
    found = re.search(r"Ray's dashboard: (\S+)", service.log.read_text())
    assert found, "the log says where the dashboard is"
    subprocess.run(
        [sys.executable, "-m", "ray.serve.scripts", "deploy", str(changed), "--address", found[1]],
        cwd=PROJECT,
        check=True,
        timeout=60,
    )
