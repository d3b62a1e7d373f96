"""Saying the same thing at most once in a while: for alerts and for log lines under junk."""

from __future__ import annotations

from collections.abc import Hashable

_TIDY_FROM = 4096


class OncePer:
    """Remembers when each thing was last said.

    Args:
        interval_s: The same thing is not due again before this has passed.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._said_s: dict[Hashable, float] = {}
        self._tidy_at = _TIDY_FROM

    def due(self, thing: Hashable, now_s: float) -> bool:
        """Whether to say it now; if so, it counts as said.

        Args:
            thing: What would be said.
            now_s: On one monotonic clock.
        """
        said_s = self._said_s.get(thing)
        if said_s is not None and now_s - said_s < self._interval_s:
            return False
        if len(self._said_s) >= self._tidy_at:  # so that the memory does not grow with every name ever heard
            self._said_s = {t: s for t, s in self._said_s.items() if now_s - s < self._interval_s}
            self._tidy_at = max(_TIDY_FROM, 2 * len(self._said_s))
        self._said_s[thing] = now_s
        return True
