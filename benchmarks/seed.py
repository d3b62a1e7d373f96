"""The way of the original system, for comparison: one process, a paho callback, everything inline, shared lists.

    python -m benchmarks.seed [--seconds 15]

The callback decodes a frame, asks YOLO in torch at the same size and MediaPipe's own face landmarker, publishes the
base64, and appends to lists. MediaPipe is none of the project's requirements: it is installed into a folder of its own
under the data folder at the first call, and its face landmarker needs the newer bundle of face models.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.ceiling import IMAGE_SIZE_PX, Rate
from benchmarks.frames import jpegs
from models.fetch import default_data_dir, fetch
from models.objects import OWN_WEIGHTS, checkpoint, keep_quiet
from serve_app.settings import PROJECT
from tests.servers import mosquitto

MEDIAPIPE = ("mediapipe==1.2.2", "absl-py==2.5.0", "flatbuffers==25.12.19")


def saturated(frames: Sequence[bytes], seconds: float) -> Rate | None:
    """Its rate; None where its face models are not to be had.

    Args:
        frames: JPEGs.
        seconds: To measure for.

    Raises:
        RuntimeError: It did not start.
    """
    files = fetch(default_data_dir(), say=lambda _: None)
    if not files.face_pack.archive:
        return None
    packages = default_data_dir() / "benchmarks" / "mediapipe"
    if not packages.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages), *MEDIAPIPE]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    bundle = files.face_folder / files.face_pack.archive
    with mosquitto() as broker:
        command = [
            *(sys.executable, "-m", "benchmarks.seed", "--serve", str(broker.port)),
            *("--bundle", str(bundle), "--seconds", str(seconds)),
        ]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(packages)])}
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as seed:
            try:
                assert seed.stdout is not None  # noqa: S101 - a pipe was asked for
                if seed.stdout.readline().strip() != "ready":
                    raise RuntimeError("the baseline did not start")
                sent = 0
                while seed.poll() is None:  # more than it does
                    client.publish("stream/v", frames[sent % len(frames)])
                    sent += 1
                    time.sleep(0.005)
                return Rate(**json.loads(seed.stdout.read()))
            finally:
                seed.kill()
                client.disconnect()
                client.loop_stop()


def serve(port: int, bundle: Path, seconds: float) -> None:
    """Be that system for so long, then print the rate."""
    import cv2  # noqa: PLC0415 - heavy
    import mediapipe as mp  # noqa: PLC0415 - not in this project's environment
    import numpy as np  # noqa: PLC0415 - heavy
    from mediapipe.tasks.python import BaseOptions, vision  # noqa: PLC0415

    keep_quiet(default_data_dir() / "models" / "exports")
    yolo = checkpoint(OWN_WEIGHTS)
    landmarker = vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(bundle)))
    )
    footage: list[bytes] = []
    metrics: list[tuple[int, int]] = []
    began: list[tuple[float, float]] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        client.publish("base64/v", b64encode(message.payload))
        picture = np.asarray(cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR))
        [seen] = yolo.predict(picture, imgsz=IMAGE_SIZE_PX, device="cpu", verbose=False)
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        faces = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb)).face_landmarks
        footage.append(bytes(message.payload))
        metrics.append((len(seen.boxes), len(faces)))
        now = time.perf_counter(), time.process_time()
        if not began:  # the first one warms up
            began.append(now)
            footage.clear()
        elif now[0] - began[0][0] >= seconds:
            rate = Rate(len(footage), now[0] - began[0][0], now[1] - began[0][1])
            print(json.dumps(dataclasses.asdict(rate)), flush=True)
            os._exit(0)  # the queue is full of frames

    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe("stream/#")
    print("ready", flush=True)
    client.loop_forever()


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.bundle, arguments.seconds)
        return
    rate = saturated(jpegs(), arguments.seconds)
    print(f"{rate.fps:.1f} frames/s, {rate.cpu_ms:.1f} ms of CPU a frame" if rate else "not measured: no bundle")


if __name__ == "__main__":
    main()
