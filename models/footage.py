"""Which frames of a stream become footage: the flagged ones and a few seconds around them."""

from __future__ import annotations

from collections import deque

from models.types import Frame


class FootageRing:
    """Keeps the last seconds, so that a flagged frame can bring them along.

    Args:
        pre_roll_s: How far before a flagged frame the footage begins.
        post_roll_s: How far after the last flagged frame it goes on.

    Attributes:
        until_s: Capture time up to which frames are footage, flagged or not; None before the first flagged one.
    """

    def __init__(self, *, pre_roll_s: float, post_roll_s: float) -> None:
        self._pre_roll_s = pre_roll_s
        self._post_roll_s = post_roll_s
        self._before: deque[Frame] = deque()
        self.until_s: float | None = None

    def step(self, frame: Frame, *, flagged: bool) -> list[Frame]:
        """The frames that become footage now, in order, each once in the life of the ring."""
        if flagged:
            self.until_s = frame.captured_s + self._post_roll_s
            self._forget(frame.captured_s)
            kept = [*self._before, frame]
            self._before.clear()
            return kept
        if self.until_s is not None and frame.captured_s <= self.until_s:
            return [frame]
        if self._pre_roll_s > 0:
            self._before.append(frame)
            self._forget(frame.captured_s)
        return []

    def _forget(self, now_s: float) -> None:
        while self._before and self._before[0].captured_s < now_s - self._pre_roll_s:
            self._before.popleft()
