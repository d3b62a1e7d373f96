"""A rate with a burst: how often something costly may be begun."""

from __future__ import annotations


class TokenBucket:
    """Full at first; each time costs a token, and tokens come back at a steady rate.

    Args:
        burst: Tokens when full: so many times may follow each other at once.
        per_s: Tokens that come back in a second.
    """

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = float(burst)
        self._counted_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether it may happen now; if so, its token is gone. A refusal costs nothing.

        Args:
            now_s: On one monotonic clock.
        """
        if self._counted_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._counted_s) * self._per_s)
        self._counted_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
