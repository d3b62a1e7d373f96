"""A yes, a no or an unknown over time, exact at uneven frame times: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DENSE_SAMPLES = 3
DENSE_S = 1.0
"""At least 3 valid samples a second, else nothing begins (domain.md, rules for all events)."""


@dataclass(slots=True)
class _Run:
    start_s: float
    end_s: float
    value: bool | None


class Runs:
    """What a signal said, as runs of the same value. A sample holds until the next one; over a gap nothing is known.

    Args:
        keep_s: How far back sums are asked for.
        gap_s: A longer time between two samples is unknown.
        bridge_s: An unknown time up to this does not interrupt what is before and after it.
    """

    def __init__(self, *, keep_s: float, gap_s: float, bridge_s: float) -> None:
        self._keep_s, self._gap_s, self._bridge_s = keep_s, gap_s, bridge_s
        self._runs: list[_Run] = []
        self._valid_s: list[float] = []  # times of the last valid samples
        self._true_until_s: float | None = None

    def add(self, value: bool | None, at_s: float) -> None:  # noqa: FBT001 - a sample is its value
        """Take a sample; one at the time of the last replaces nothing and counts for nothing.

        Args:
            value: What it says; None: unknown.
            at_s: Monotonic seconds.
        """
        if self._runs:
            last = self._runs[-1]
            if at_s <= last.end_s:
                return
            self._note(last)
            if at_s - last.end_s > self._gap_s:
                self._runs.append(_Run(last.end_s, at_s, None))
            else:
                last.end_s = at_s
                self._note(last)
        if not self._runs or self._runs[-1].value is not value:
            self._runs.append(_Run(at_s, at_s, value))
        if value is not None:
            self._valid_s = [*self._valid_s[1 - DENSE_SAMPLES :], at_s]
        while self._runs[0].end_s < at_s - self._keep_s:
            del self._runs[0]

    @property
    def now_s(self) -> float:
        """Time of the last sample."""
        return self._runs[-1].end_s if self._runs else 0.0

    @property
    def value(self) -> bool | None:
        """The last sample's."""
        return self._runs[-1].value if self._runs else None

    @property
    def dense(self) -> bool:
        """Whether there were enough valid samples just now for something to begin."""
        return len(self._valid_s) == DENSE_SAMPLES and passed_s(self._valid_s[0], self.now_s) < DENSE_S

    def since_s(self, value: bool) -> float | None:  # noqa: FBT001 - as above
        """When the time began through which the signal has had this value; None when it has another one now."""
        since_s = None
        for run in reversed(self._runs):
            if run.value is value:
                since_s = run.start_s
            elif run.value is not None or passed_s(run.start_s, run.end_s) > self._bridge_s:
                break
        return since_s

    def held_s(self, value: bool) -> float:  # noqa: FBT001 - as above
        """How long that has lasted."""
        since_s = self.since_s(value)
        return 0.0 if since_s is None else passed_s(since_s, self.now_s)

    @property
    def true_until_s(self) -> float | None:
        """Until when it was last true, before the last sample; None: never yet."""
        return self._true_until_s

    def seconds(self, value: bool, since_s: float) -> float:  # noqa: FBT001 - as above
        """How long it had this value, all together, from then on."""
        return sum(max(0.0, run.end_s - max(run.start_s, since_s)) for run in self._runs if run.value is value)

    def share_since_s(self, window_s: float, share: float) -> float | None:
        """Since when it has been true for this share of the time, if that is at least `window_s` long; else None."""
        now_s = self.now_s
        for run in self._runs:
            if run.value is True and run.end_s > now_s - 2 * window_s:
                start_s = max(run.start_s, now_s - 2 * window_s)
                lasts_s = passed_s(start_s, now_s)
                if lasts_s >= window_s and passed_s(0, self.seconds(True, start_s)) >= round(share * lasts_s, 6):  # noqa: FBT003 - as above
                    return run.start_s
        return None

    def since_rest_s(self, rest_s: float, within_s: float) -> float | None:
        """When it was first true after it had last been false for `rest_s`; None: not since then.

        Args:
            rest_s: Without being true meanwhile.
            within_s: Look back no further.
        """
        first_s = None
        rested_s = 0.0
        for run in reversed(self._runs):
            if run.end_s < self.now_s - within_s:
                break
            if run.value is True:
                first_s, rested_s = max(run.start_s, self.now_s - within_s), 0.0
            elif run.value is False:
                rested_s += run.end_s - run.start_s
                if rested_s >= rest_s:
                    break
        return first_s

    def known_s(self, since_s: float) -> float:
        """How long it had any value, from then on."""
        return self.seconds(True, since_s) + self.seconds(False, since_s)  # noqa: FBT003 - as above

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs: numbers and truth values only."""
        return {
            "runs": [[run.start_s, run.end_s, run.value] for run in self._runs],
            "valid_s": self._valid_s,
            "true_until_s": self._true_until_s,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot."""
        self._runs = [_Run(*run) for run in snapshot["runs"]]
        self._valid_s = list(snapshot["valid_s"])
        self._true_until_s = snapshot["true_until_s"]

    def _note(self, run: _Run) -> None:
        if run.value:
            self._true_until_s = run.end_s


def passed_s(start_s: float, end_s: float) -> float:
    """Seconds between two times, to the microsecond."""
    # 2.3 - 1.3 is a little less than 1.0: frames at a fixed rate would count a frame late, depending on when it began
    return round(end_s - start_s, 6)
