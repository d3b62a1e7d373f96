"""Load in the real flow makes Serve start another Detector, and calm takes it away again."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

from tests.serve.service import Devices, Service, blank, running
from tests.waiting import eventually

CONFIG = Path(__file__).with_name("slow_config.yaml")


def test_detectors_go_from_one_to_two_and_back_to_one(tmp_path: Path) -> None:
    with running(tmp_path, config=CONFIG) as service, Devices(service.mqtt_port) as devices:
        seen: list[int] = []
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(service, seen, done))
        watcher.start()
        vehicles = [uuid.uuid4() for _ in range(8)]
        for vehicle in vehicles:
            devices.open(vehicle)
        pictures = blank(30) * 2
        for _ in range(15):  # 120 frames a second, where one replica does 50 and two do 100
            devices.play(dict.fromkeys(vehicles, pictures), 15)
            if 2 in seen:
                break
        for vehicle in vehicles:
            devices.close(vehicle)
        eventually(lambda: len(seen) >= 3, 90)
        done.set()
        watcher.join()
        print(f"\nDetector replicas: {' -> '.join(map(str, seen))}")
        assert seen == [1, 2, 1]


def _watch(service: Service, seen: list[int], done: threading.Event) -> None:
    while not done.is_set():
        replicas = _replicas(service)
        if replicas and seen[-1:] != [replicas]:
            seen.append(replicas)
        time.sleep(0.2)


def _replicas(service: Service) -> int:
    health = service.json("/healthz")
    return int(health["detector_replicas"]) if health else 0
