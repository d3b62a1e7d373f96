"""How a vehicle's flushes went, added up where the Gateway finds it: a vehicle's process ends with its last flush.

Its own metrics would each be a series more for every trip that ever was, in Ray's agent and in Prometheus.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self

from models.errors import one_line

_log = logging.getLogger(__name__)

Outcome = Literal["done", "failed"]
PREFIX = "flushes/"
"""Of every key."""


@dataclass(slots=True)
class Steps:
    """Attempts at steps of flushes, added up.

    Args:
        count: By step and outcome.
        seconds: By step.
        final: Nothing will be added to it.
    """

    count: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    final: bool = False

    def add(self, step: str, outcome: str, seconds: float) -> None:
        """Add an attempt."""
        self.count[step, outcome] = self.count.get((step, outcome), 0) + 1
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def packed(self) -> str:
        """As text."""
        count = [[*key, number] for key, number in self.count.items()]
        return json.dumps({"count": count, "seconds": self.seconds, "final": self.final})

    @classmethod
    def unpacked(cls, text: str | bytes) -> Self:
        """The same back.

        Raises:
            ValueError: It is none.
        """
        try:
            said = json.loads(text)
            count = {(str(step), str(outcome)): int(number) for step, outcome, number in said["count"]}
            return cls(count, {str(step): float(s) for step, s in said["seconds"].items()}, bool(said["final"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no tally: {one_line(error)}") from error


class FlushTally:
    """Adds up the attempts of one vehicle's flusher, on its thread.

    Told at each failure, which may be followed by others for hours, and at rest; each spell from rest to rest has a key
    of its own.

    Args:
        put: Keeps a text under a key, in place of what is there.
    """

    def __init__(self, put: Callable[[str, str], object]) -> None:
        self._put = put
        self._process = uuid.uuid4().hex
        self._spells = 0
        self._steps = Steps()

    def add(self, step: str, outcome: Outcome, seconds: float) -> None:
        """An attempt has ended."""
        self._steps.add(step, outcome, seconds)
        if outcome == "failed":
            self._tell()

    def rest(self) -> None:
        """Nothing is left to flush."""
        self._steps.final = True
        self._tell()
        self._steps = Steps()
        self._spells += 1

    def _tell(self) -> None:
        try:
            self._put(f"{PREFIX}{self._process}.{self._spells}", self._steps.packed())
        except Exception as error:  # noqa: BLE001 - a number must not cost a flush
            _log.warning("how the flush goes is not counted: %s", one_line(error))
