"""A clock that moves when told."""

from __future__ import annotations


class FakeClock:
    """Takes the place of `time.monotonic`.

    Attributes:
        now_s: What it says.
    """

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """The time."""
        return self.now_s

    def advance(self, by_s: float) -> None:
        """Let time pass."""
        self.now_s += by_s
