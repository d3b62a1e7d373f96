"""The Gateway's numbers on their way to Prometheus: counted where frames pass, told once a second from here."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

from serve_app.export import EXPORT_S, Exporter, Readings
from serve_app.flow import Flow
from serve_app.flush_tallies import FlushTallies
from serve_app.recovery import Part

LOOK_EVERY_S = 10.0
"""Between two looks at what is elsewhere: the journals of all nodes, the vehicles' flushes."""


class GatewayMetrics:
    """See `serve_app.metrics`; what a vehicle's process would tell is told here, since that lives as long as a trip.

    Args:
        flow: Counts.
        connected: Whether the broker is there.
        journals: See `recovery.Actors.journals`.
        tallies: Of the vehicles' flushes.
        exporter: Told the readings.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        connected: Callable[[], bool],
        journals: Callable[[], Awaitable[Mapping[str, Mapping[Part, int]]]],
        tallies: FlushTallies,
        exporter: Exporter | None = None,
    ) -> None:
        self._flow = flow
        self._connected = connected
        self._journals = journals
        self._tallies = tallies
        self._exporter = exporter or Exporter()
        self._unstored_parts = 0
        self._journal_bytes = 0

    async def export_forever(self) -> None:
        """Tell all readings, again and again; what fails is tried again."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._look_forever(), name="metrics from elsewhere")
            while True:
                self._exporter.export(self.readings)
                await asyncio.sleep(EXPORT_S)

    async def _look_forever(self) -> None:
        """Beside the readings: Ray drops a gauge that it is not told for a while, and a look may take long."""
        while True:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - Ray's head is away: the last numbers stay
                self._exporter.complain("journals and flushes are not counted", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        journals = list((await self._journals()).values())
        self._unstored_parts = unstored((part for parts in journals for part in parts), self._flow.open_trips)
        self._journal_bytes = sum(size for parts in journals for size in parts.values())
        await asyncio.to_thread(self._tallies.collect)

    def readings(self) -> Readings:
        """As things stand."""
        counts, intake, refused = self._flow.counts, self._flow.intake, self._flow.intake.refused
        frames, size_bytes = self._flow.waiting
        return {
            "dms_frames_total": {
                ("received",): intake.received,
                ("relayed",): intake.relayed,
                ("observed",): counts.observed,
                ("flagged",): counts.flagged,
            },
            "dms_dropped_total": _by_one_label(refused),
            "dms_open_streams": {(): intake.open_streams},
            "dms_backlog_frames": {(): frames},
            "dms_backlog_bytes": {(): size_bytes},
            "dms_batch_frames": {(): counts.batch_frames},
            "dms_stage_seconds": {
                ("observe",): counts.observe,
                ("detect",): counts.detect,
                ("push",): counts.push,
            },
            "dms_alerts_total": _by_one_label(counts.alerts),
            "dms_events_total": _by_one_label(counts.events),
            "dms_broker_connected": {(): int(self._connected())},
            "dms_detector_replicas": {(): self._flow.detector_replicas},
            "dms_flush_steps_total": self._tallies.count,
            "dms_flush_step_seconds_total": self._tallies.seconds,
            "dms_unstored_parts": {(): self._unstored_parts},
            "dms_journal_bytes": {(): self._journal_bytes},
        }


def unstored(parts: Iterator[Part], open_trips: Collection[uuid.UUID]) -> int:
    """How many of the parts that have a journal are closed: of an open trip all but the one under way."""
    trips = [trip for _, trip, _ in parts]
    return len(trips) - len(set(trips) & set(open_trips))


def _by_one_label(counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(value,): count for value, count in counts.items()}
