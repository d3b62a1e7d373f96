"""What the vehicles have added up of their flushes, taken together."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Protocol

from ray.experimental.internal_kv import internal_kv_get_gcs_client

from actors.flush_tally import PREFIX, Steps
from actors.vehicle_actor import KV_TIMEOUT_S, NAMESPACE

_log = logging.getLogger(__name__)


class Kept(Protocol):
    """Where the vehicles put it."""

    def keys(self) -> list[bytes]:
        """Of all that there is."""

    def get(self, key: bytes) -> bytes | None:
        """None when it is gone."""

    def delete(self, key: bytes) -> None:
        """No effect when it is gone."""


class FlushTallies:
    """Takes each tally once, and again what was added to it.

    Args:
        kept: See `Kept`.

    Attributes:
        count: Attempts by step and outcome, since this object was made.
        seconds: What they took, by step.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._seen: dict[bytes, Steps] = {}
        self.count: Counter[tuple[str, ...]] = Counter()
        self.seconds: dict[tuple[str, ...], float] = {}

    def collect(self) -> None:
        """Look for news; blocks for some calls to Ray's head, and raises what they do."""
        keys = self._kept.keys()
        self._seen = {key: steps for key, steps in self._seen.items() if key in keys}
        for key in keys:
            text = self._kept.get(key)
            if text is None:
                continue
            try:
                steps = Steps.unpacked(text)
            except ValueError:
                _log.warning("a tally of flushes is not understood and removed: %.100r", text)
                steps = Steps(final=True)
            self._take(steps, self._seen.get(key, Steps()))
            self._seen[key] = steps
            if steps.final:
                self._kept.delete(key)

    def _take(self, now: Steps, before: Steps) -> None:
        for key, number in now.count.items():
            self.count[key] += number - before.count.get(key, 0)
        for step, seconds in now.seconds.items():
            self.seconds[step,] = self.seconds.get((step,), 0.0) + seconds - before.seconds.get(step, 0.0)


class RayKept:
    """`Kept` in Ray's head, where `VehicleActor` puts it. Its functions are Ray's own, not public."""

    _namespace = NAMESPACE.encode()

    def keys(self) -> list[bytes]:
        """See `Kept.keys`."""
        return list(self._client.internal_kv_keys(PREFIX.encode(), self._namespace, KV_TIMEOUT_S))

    def get(self, key: bytes) -> bytes | None:
        """See `Kept.get`."""
        value: bytes | None = self._client.internal_kv_get(key, self._namespace, KV_TIMEOUT_S)
        return value

    def delete(self, key: bytes) -> None:
        """See `Kept.delete`."""
        self._client.internal_kv_del(key, False, self._namespace, KV_TIMEOUT_S)  # noqa: FBT003 - takes no names

    @property
    def _client(self) -> Any:
        return internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
