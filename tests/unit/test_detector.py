"""What the Detector makes of a batch, and when it must be replaced."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.types import Detection, Face, Observation, Unreadable
from serve_app import detector
from serve_app.detector import BROKEN_AFTER, DECODED_BATCHES, STUCK_AFTER_S, Models
from tests.builders import TINY_JPEG, face, jpeg
from tests.fakes.clock import FakeClock
from tests.waiting import until


class Stages:
    """Both models: a face and a phone of the picture's width; `before` is called first."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.before = before
        self.batches: list[int] = []

    def observe(self, images: Sequence[Any]) -> list[Face | None]:
        """See `FaceStage`."""
        self.batches.append(len(images))
        self.before()
        return [face(xyxy=(0.0, 0.0, float(image.shape[1]), 1.0)) for image in images]

    def detect(self, images: Sequence[Any]) -> list[tuple[Detection, ...]]:
        """See `ObjectStage`."""
        return [(Detection("phone", 0.9, (0.0, 0.0, float(image.shape[1]), 1.0)),) for image in images]


def test_every_frame_has_its_own_answer_and_a_broken_one_harms_no_other() -> None:
    huge = bytearray(jpeg(8, 8))
    at = huge.find(b"\xff\xc0")
    huge[at + 5 : at + 9] = b"\xff\xff\xff\xff"  # more pixels than OpenCV takes: it raises
    models = Models(Stages(), Stages())
    answers = asyncio.run(models.observe([jpeg(64, 48), TINY_JPEG, bytes(huge), jpeg(32, 24)]))
    first, tiny, too_big, last = answers
    for answer, width_px in ((first, 64.0), (last, 32.0)):
        assert isinstance(answer, Observation) and answer.face
        assert answer.face.xyxy[2] == width_px == answer.detections[0].xyxy[2]
    assert isinstance(tiny, Unreadable)
    assert isinstance(too_big, Unreadable) and "\n" not in too_big.reason


def test_no_more_batches_are_decoded_than_the_models_can_be_fed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    decoded: list[bytes] = []

    def decode(data: bytes) -> Any:
        decoded.append(data)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(detector, "_decode", decode)

    async def story() -> None:
        models = Models(Stages(go_on.wait), None)
        calls = [asyncio.create_task(models.observe([b"a"])) for _ in range(4)]
        await until(lambda: len(decoded) == DECODED_BATCHES)
        await asyncio.sleep(0.05)  # for who would come in between
        assert len(decoded) == DECODED_BATCHES
        go_on.set()
        await asyncio.gather(*calls)
        assert len(decoded) == 4

    asyncio.run(story())


def test_a_batch_whose_one_stage_fails_counts_until_the_other_is_done_with_its_pictures() -> None:
    go_on = threading.Event()
    slow = Stages()
    slow.detect = lambda _: go_on.wait()  # type: ignore[assignment,method-assign,return-value]

    async def story() -> None:
        call = asyncio.create_task(Models(Stages(_fail), slow).observe([jpeg(8, 8)]))
        await asyncio.sleep(0.05)
        assert not call.done()
        go_on.set()
        with pytest.raises(OSError, match="device is lost"):
            await call

    asyncio.run(story())


@pytest.mark.parametrize("where", ["decoder", "models"])
def test_a_hang_is_seen_wherever_it_is(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    clock, entered, go_on = FakeClock(), threading.Event(), threading.Event()
    monkeypatch.setattr(detector, "time", SimpleNamespace(monotonic=clock))

    def hang() -> None:
        entered.set()
        go_on.wait()

    def decode(_: bytes) -> Any:
        if where == "decoder":
            hang()
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(detector, "_decode", decode)

    async def story() -> None:
        models = Models(Stages(hang if where == "models" else lambda: None), None)
        clock.now_s += 10 * STUCK_AFTER_S
        models.check()  # nothing to do for long is no hang
        call = asyncio.create_task(models.observe([b"a"]))
        try:
            await until(entered.is_set)
            models.check()
            clock.now_s += STUCK_AFTER_S + 1
            with pytest.raises(RuntimeError, match="takes over 30 s"):
                models.check()
        finally:
            go_on.set()
            await call
        models.check()

    asyncio.run(story())


def test_models_that_fail_time_after_time_are_replaced_and_a_success_in_between_forgives() -> None:
    async def story() -> None:
        stages = Stages()
        models = Models(stages, None)
        for before in [_fail, lambda: None, _fail]:
            stages.before = before
            for _ in range(BROKEN_AFTER - 1):
                await asyncio.gather(models.observe([jpeg(8, 8)]), return_exceptions=True)
            models.check()
        await asyncio.gather(models.observe([jpeg(8, 8)]), return_exceptions=True)
        with pytest.raises(RuntimeError, match=f"last {BROKEN_AFTER} batches failed"):
            models.check()

    asyncio.run(story())


def _fail() -> None:
    raise OSError("the device is lost")
