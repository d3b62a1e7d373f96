"""What became of a simulated fleet's frames: the scoreboard's lines, and what in them does not add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serve_app.simulator.asked import STORED_TIMEOUT_S, Driven, Rows
from serve_app.simulator.device import Sent

NOT_ASKED = "not asked"
COUNTED_BEFORE_RELAY = frozenset(
    {"bad_uuid", "not_open", "not_jpeg", "truncated", "too_large", "too_many_pixels", "too_many_scans", "not_relayed"}
)
"""Reasons of the service for a frame that does not come back."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """Frames heard on `base64/`.

    Args:
        frames: How many of those that were sent.
        strange: Messages that were not sent so: altered, out of order, or there for a second time.
        p50_s: Half of them came back within so many seconds of being sent; None: none did.
        p95_s: Likewise for 95 %.
        deaf: Why not all were heard that may have been said; empty: all were.
    """

    frames: int
    strange: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    deaf: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the service said over HTTP.

    Args:
        driven: Of the trips while they were open.
        dropped: By reason, of all its vehicles.
        began_anew: Whether it counts from 0 again since some moment.
        left: Vehicles of which something was not stored in time; None: nobody waited for it.
        rows: What is stored; None: it did not say.
    """

    driven: Driven
    dropped: Counter[str]
    began_anew: bool = False
    left: int | None = None
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What became of a fleet's frames.

    Args:
        sent: By vehicle.
        relayed: What came back.
        alerts: Messages on `alert/`.
        event_messages: Messages on `event/`.
        events: Events that these were about.
        answers: None: the service was not asked.
        silence: Why it was not.
    """

    sent: Sequence[Sent]
    relayed: Relayed
    alerts: int = 0
    event_messages: int = 0
    events: int = 0
    answers: Answers | None = None
    silence: str = ""

    @property
    def faults(self) -> list[str]:
        """What does not add up, a line each.

        At QoS 0 a broker may drop frames, and a connection that breaks takes some with it; the vehicles' own reboots do
        not, since a vehicle counts what it took with it. Nobody tells either of these, so they are faults as well.
        """
        return [*self._lost(), *self._altered(), *self._not_stored()]

    def __str__(self) -> str:
        rows = [
            ("sent", self._sent_line()),
            ("relayed", self._relayed_line()),
            ("observed", self._observed_line()),
            ("dropped", self._dropped_line()),
            ("alerts", f"{self.alerts} heard"),
            ("events", f"{self.events} heard, in {self.event_messages} messages"),
            ("stored", self._stored_line()),
        ]
        lines = ["scoreboard", *(f"  {name:9s} {said}" for name, said in rows)]
        if self.answers is None:
            lines.append(f"  {NOT_ASKED}: {self.silence}")
        lines += [f"  WRONG: {fault}" for fault in self.faults] or ["  every frame is accounted for"]
        return "\n".join(lines)

    def _sum(self, of: Callable[[Sent], int]) -> int:
        return sum(of(one) for one in self.sent)

    @property
    def _frames(self) -> int:
        return self._sum(lambda one: one.frames)

    def _lost(self) -> list[str]:
        if self.relayed.deaf:
            return [f"whether frames were lost cannot be said: {self.relayed.deaf}"]
        sent, heard = self._frames, self.relayed.frames
        counted = {r: n for r, n in self._dropped.items() if r in COUNTED_BEFORE_RELAY}
        lost = sent - heard - sum(counted.values())
        if lost <= 0:
            return []
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(counted.items())) or "none"
        line = f"{sent} sent - {heard} relayed - {sum(counted.values())} dropped before that ({why}"
        line += f") = {lost} frames that nobody counted"
        if self.answers is None:
            line += "; the service was not asked what it dropped"
        elif self.answers.began_anew:
            line += "; its Gateway was replaced meanwhile, which counts anew"
        if broken := self._sum(lambda one: one.broken):
            line += f"; {broken} connections broke meanwhile, which takes frames at QoS 0"
        if not heard:
            line += "; does a service run at this broker, and may this user send and read there?"
        return [line]

    def _altered(self) -> list[str]:
        strange = self.relayed.strange
        return [f"{strange} frames were relayed altered, out of order or twice"] if strange else []

    def _not_stored(self) -> list[str]:
        if self.answers is None:
            return []
        left, rows, flagged = self.answers.left, self.answers.rows, self.answers.driven.flagged
        if rows is None:
            return ["what is stored cannot be said: the service does not answer any more"]
        if left:
            return [f"something of {left} vehicles is not stored after {STORED_TIMEOUT_S:.0f} s: see /v1/flushes"]
        if left is None:
            return []
        expected = {"frames were flagged": (flagged, rows.alerts), "events were heard": (self.events, rows.events)}
        return [
            f"{known} {what} - {stored} rows of them = {known - stored} missing"
            for what, (known, stored) in expected.items()
            if stored < known
        ]

    @property
    def _dropped(self) -> Counter[str]:
        return self.answers.dropped if self.answers else Counter()

    def _sent_line(self) -> str:
        line = f"{self._frames} frames; {self._sum(lambda one: one.lost)} lost on purpose"
        if reboots := self._sum(lambda one: one.reboots):
            line += f", {self._sum(lambda one: one.missed)} missed in {reboots} reboots"
        if unsent := self._sum(lambda one: one.unsent):
            line += f", {unsent} not sent for want of a connection"
        return line

    def _relayed_line(self) -> str:
        line = f"{self.relayed.frames}"
        if self.relayed.p50_s is not None and self.relayed.p95_s is not None:
            line += f", half of them within {self.relayed.p50_s:.3f} s, 95 % within {self.relayed.p95_s:.3f} s"
        return line

    def _observed_line(self) -> str:
        if self.answers is None:
            return NOT_ASKED
        driven = self.answers.driven
        at_least = "at least " if self._sum(lambda one: one.reboots + one.broken) else ""
        waiting = f", {driven.backlog} waiting" if driven.backlog else ""
        return f"{at_least}{driven.observed} of {driven.trips} trips, {driven.flagged} of them flagged{waiting}"

    def _dropped_line(self) -> str:
        if self.answers is None:
            return NOT_ASKED
        line = ", ".join(f"{n} {reason}" for reason, n in sorted(self.answers.dropped.items())) or "none"
        line += " (all vehicles of this service)" if self.answers.dropped else ""
        return f"{line}; counted anew meanwhile" if self.answers.began_anew else line

    def _stored_line(self) -> str:
        if self.answers is None:
            return NOT_ASKED
        rows = self.answers.rows
        line = (
            f"{rows.videos} videos, {rows.alerts} alerts, {rows.events} events of {rows.trips} trips"
            if rows
            else "no answer"
        )
        return f"{line}; not waited for" if self.answers.left is None and rows else line
