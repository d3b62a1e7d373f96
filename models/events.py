"""From what each frame shows to events: a start, an end, one id. Pure, by timestamps; the rules are of domain.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from models.profiles import Profile
from models.runs import Runs, passed_s
from models.types import EventKind, Severity

_RISING: tuple[Severity, ...] = ("info", "medium", "high", "critical")
FLAGGING: frozenset[Severity] = frozenset({"medium", "high", "critical"})
"""While an event of these runs, its frames are flagged (contract, section 3)."""

Signal = Literal["eyes_closed", "head_away", "absent", "mouth_open", "no_face", "blind", "phone", "smoking", "drinking"]
KEEP_S = 10.0
"""Signals are kept for this long, or longer where a rule looks back further."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What one frame shows. Where that is a yes or a no, None is unknown.

    Args:
        eyes_closed: Unknown without a usable face.
        head_away: Likewise.
        mouth_open: Likewise.
        no_face: Unknown without a usable picture; so are the objects.
        blind: Whether the picture is of no use.
        phone: Whether one is seen.
        smoking: Whether a cigarette, smoke or a vape is.
        drinking: Whether a bottle or a cup is.
    """

    eyes_closed: bool | None = None
    head_away: bool | None = None
    mouth_open: bool | None = None
    no_face: bool | None = None
    blind: bool | None = None
    phone: bool | None = None
    smoking: bool | None = None
    drinking: bool | None = None

    @property
    def absent(self) -> bool | None:
        """Whether the driver sees nothing of the road: eyes closed or head away."""
        if self.eyes_closed or self.head_away:
            return True
        return None if self.eyes_closed is None or self.head_away is None else False


@dataclass(frozen=True, slots=True)
class Event:
    """What lasts, or has lasted. The same number is the same event, as it was last known.

    Args:
        number: Counts the events of a trip, from 1.
        kind: What it is by now.
        severity: The highest so far.
        started_s: Capture time from which on it held.
        ended_s: Capture time at which it was over; None while it runs.
        peak: Its worst, by what was measured.
        coverage: Share of its time in which something was known, 0..1.
    """

    number: int
    kind: EventKind
    severity: Severity
    started_s: float
    ended_s: float | None
    peak: Mapping[str, float]
    coverage: float


class Events:
    """The events of one driver over one trip.

    Args:
        profile: Its numbers.
    """

    def __init__(self, profile: Profile) -> None:
        p = profile
        looks_back_s: dict[Signal, float] = {
            "eyes_closed": p.perclos_window_s,
            "head_away": p.vats_window_s,
            "absent": 0.0,
            "mouth_open": 0.0,
            "no_face": 0.0,
            "blind": 0.0,
            "phone": 0.0,
            "smoking": 0.0,
            "drinking": 0.0,
        }
        self._signals = {
            name: Runs(keep_s=max(KEEP_S, back_s), gap_s=p.gap_s, bridge_s=p.face_lost_s)
            for name, back_s in looks_back_s.items()
        }
        self._yawns_s: list[float] = []  # when the last yawns began; the rule of repeated ones reads it
        self._rules: tuple[_Rule, ...] = (
            _Sleep(p),
            _Held("unresponsive", "critical", "absent", p.unresponsive_s, p.unresponsive_end_s, "absent_s"),
            _Drowsy(p),
            _Held("yawn", "info", "mouth_open", p.yawn_s, p.yawn_end_s, "mouth_open_s"),
            _Repeated(p, self._yawns_s),
            _Held("distraction_long", "high", "head_away", p.distraction_s, p.distraction_end_s, "head_away_s"),
            _Vats(p),
            _Seen("phone_use", "high", "phone", p.phone_window_s, p.phone_end_s, p.object_share),
            _Seen("smoking", "info", "smoking", p.smoking_window_s, p.smoking_end_s, p.object_share),
            _Seen("drinking", "medium", "drinking", p.drinking_window_s, p.drinking_end_s, p.object_share),
            _Held("no_face", "info", "no_face", p.no_face_s, p.no_face_end_s, "no_face_s"),
            _Held("camera_blind", "high", "blind", p.blind_s, p.blind_end_s, "blind_s"),
        )
        self._profile = profile
        self._last: dict[str, Event] = {}  # of each rule
        self._known_s: dict[str, float] = {}  # of those
        self._count = 0
        self._at_s: float | None = None

    def step(self, signs: Signs, at_s: float) -> tuple[Event, ...]:
        """Take one frame further; one at the time of the last changes nothing.

        Args:
            signs: What it shows.
            at_s: Its capture time in seconds; must not fall within a trip.

        Returns:
            The events that began, became another kind, got worse or ended with it.
        """
        if self._at_s is not None and at_s <= self._at_s:
            return ()
        for name, runs in self._signals.items():
            runs.add(getattr(signs, name), at_s)
        changed = tuple(event for rule in self._rules if (event := self._follow(rule)))
        self._at_s = at_s
        return changed

    def end(self) -> tuple[Event, ...]:
        """The trip is over, and with it what runs; as it was at the last frame."""
        ended = tuple(replace(event, ended_s=self._at_s) for event in self.running)
        for name, event in list(self._last.items()):
            if event.ended_s is None:
                self._last[name] = replace(event, ended_s=self._at_s)
        return ended

    @property
    def running(self) -> tuple[Event, ...]:
        """Those that have begun and not ended, in the order in which they began."""
        return tuple(sorted((e for e in self._last.values() if e.ended_s is None), key=lambda event: event.number))

    @property
    def restless(self) -> bool:
        """Whether something runs, or may be about to; a camera that sees nobody for hours does not count."""
        return any(event.severity in FLAGGING for event in self.running) or any(
            runs.value for name, runs in self._signals.items() if name not in ("no_face", "blind")
        )

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs to go on from here: numbers, text and truth values only."""
        return {
            "signals": {name: runs.snapshot() for name, runs in self._signals.items()},
            "last": {name: asdict(event) for name, event in self._last.items()},
            "known_s": dict(self._known_s),
            "yawns_s": list(self._yawns_s),
            "count": self._count,
            "at_s": self._at_s,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot, as if no other process had been in between."""
        for name, runs in self._signals.items():
            runs.restore(snapshot["signals"][name])
        self._last = {name: Event(**event) for name, event in snapshot["last"].items()}
        self._known_s = dict(snapshot["known_s"])
        self._yawns_s[:] = snapshot["yawns_s"]
        self._count = snapshot["count"]
        self._at_s = snapshot["at_s"]

    def _follow(self, rule: _Rule) -> Event | None:
        """What the rule says now; its event if that has changed in more than its peak."""
        runs = self._signals[rule.signal]
        before = self._last.get(rule.name)
        holds = rule.holds(runs)
        if before is not None and before.ended_s is None:
            event = self._go_on(rule, before, holds, runs)
        elif holds is not None:
            event = self._begin(rule, holds, before, runs)
        else:
            return None
        self._last[rule.name] = event
        same = before is not None and replace(event, peak=before.peak, coverage=before.coverage) == before
        return None if same else event

    def _begin(self, rule: _Rule, holds: _Holds, before: Event | None, runs: Runs) -> Event:
        p = self._profile
        if before is not None and before.ended_s is not None and holds.since_s - before.ended_s <= p.same_event_s:
            known_s = self._known_s[rule.name] + runs.known_s(before.ended_s)
            event = replace(before, ended_s=None)
        else:
            self._count += 1
            known_s = runs.known_s(holds.since_s)
            event = Event(self._count, holds.kind, holds.severity, holds.since_s, None, {}, 1.0)
            if holds.kind == "yawn":
                self._yawns_s[:] = [s for s in self._yawns_s if s > runs.now_s - p.yawns_window_s]
                self._yawns_s.append(holds.since_s)
        self._known_s[rule.name] = known_s
        return self._worse(rule, event, holds, runs)

    def _go_on(self, rule: _Rule, event: Event, holds: _Holds | None, runs: Runs) -> Event:
        if self._at_s is not None:
            self._known_s[rule.name] += runs.known_s(self._at_s)
        event = self._worse(rule, event, holds, runs)
        ended_s = rule.ended_s(runs, event)
        return event if ended_s is None else replace(event, ended_s=max(ended_s, event.started_s))

    def _worse(self, rule: _Rule, event: Event, holds: _Holds | None, runs: Runs) -> Event:
        lasts_s = runs.now_s - event.started_s
        coverage = min(1.0, self._known_s[rule.name] / lasts_s) if lasts_s > 0 else 1.0
        event = replace(event, coverage=round(coverage, 3))
        if holds is None:
            return event
        if _RISING.index(holds.severity) > _RISING.index(event.severity):
            event = replace(event, kind=holds.kind, severity=holds.severity)
        return replace(event, peak={rule.measure: max(event.peak.get(rule.measure, 0.0), round(holds.measure, 3))})


@dataclass(frozen=True, slots=True)
class _Holds:
    """That a rule holds now: since when, as what, how bad, and by how much."""

    since_s: float
    kind: EventKind
    severity: Severity
    measure: float


class _Rule(Protocol):
    """Reads one signal."""

    @property
    def name(self) -> EventKind:
        """What its events begin as."""

    @property
    def signal(self) -> Signal:
        """What it reads."""

    @property
    def measure(self) -> str:
        """What its peak is of."""

    def holds(self, runs: Runs) -> _Holds | None:
        """Whether an event of it is there now."""

    def ended_s(self, runs: Runs, event: Event) -> float | None:
        """When the running event was over; None while it goes on."""


@dataclass(frozen=True, slots=True)
class _Held:
    """True for so long; over once it has not been true for so long."""

    name: EventKind
    severity: Severity
    signal: Signal
    min_s: float
    end_s: float
    measure: str

    def holds(self, runs: Runs) -> _Holds | None:
        """See `_Rule.holds`."""
        held_s, since_s = runs.held_s(True), runs.since_s(True)  # noqa: FBT003 - a value of the signal
        if since_s is None or not runs.value or not runs.dense or held_s < self.min_s:
            return None
        return _Holds(since_s, self.name, self.severity, held_s)

    def ended_s(self, runs: Runs, event: Event) -> float | None:
        """See `_Rule.ended_s`."""
        return _not_since(runs, self.end_s, event)


class _Sleep:
    """Closed eyes: a microsleep, and from then on a sleep."""

    name: EventKind = "microsleep"
    signal: Signal = "eyes_closed"
    measure = "eyes_closed_s"

    def __init__(self, profile: Profile) -> None:
        self._p = profile
        self._held = _Held("microsleep", "high", self.signal, profile.microsleep_s, 0.0, self.measure)

    def holds(self, runs: Runs) -> _Holds | None:
        """See `_Rule.holds`."""
        held = self._held.holds(runs)
        if held is not None and held.measure >= self._p.sleep_s:
            return replace(held, kind="sleep", severity="critical")
        return held

    def ended_s(self, runs: Runs, event: Event) -> float | None:
        """See `_Rule.ended_s`."""
        return _not_since(runs, self._p.sleep_end_s if event.kind == "sleep" else self._p.microsleep_end_s, event)


class _Drowsy:
    """PERCLOS: the share of a sliding minute with closed eyes."""

    name: EventKind = "drowsy"
    signal: Signal = "eyes_closed"
    measure = "perclos"

    def __init__(self, profile: Profile) -> None:
        self._p = profile

    def holds(self, runs: Runs) -> _Holds | None:
        """See `_Rule.holds`."""
        share = self._share(runs)
        if share is None or share < self._p.perclos_medium:
            return None
        return _Holds(runs.now_s, self.name, "high" if share >= self._p.perclos_high else "medium", share)

    def ended_s(self, runs: Runs, event: Event) -> float | None:  # noqa: ARG002 - as the others
        """See `_Rule.ended_s`."""
        share = self._share(runs)
        return runs.now_s if share is None or share < self._p.perclos_end else None

    def _share(self, runs: Runs) -> float | None:
        """None where too little of the window is known."""
        since_s = runs.now_s - self._p.perclos_window_s
        known_s = runs.known_s(since_s)
        if round(known_s, 6) < round(self._p.perclos_coverage * self._p.perclos_window_s, 6):
            return None
        return round(runs.seconds(True, since_s) / known_s, 6)  # noqa: FBT003 - a value of the signal


class _Repeated:
    """So many yawns within so long."""

    name: EventKind = "yawning_repeated"
    signal: Signal = "mouth_open"
    measure = "yawns"

    def __init__(self, profile: Profile, yawns_s: list[float]) -> None:
        self._p = profile
        self._yawns_s = yawns_s

    def holds(self, runs: Runs) -> _Holds | None:
        """See `_Rule.holds`."""
        recent = [s for s in self._yawns_s if passed_s(s, runs.now_s) < self._p.yawns_window_s]
        if len(recent) < self._p.yawns or runs.held_s(True) < self._p.yawn_s:  # noqa: FBT003 - a value of the signal
            return None
        return _Holds(recent[-1], self.name, "medium", len(recent))

    def ended_s(self, runs: Runs, event: Event) -> float | None:
        """See `_Rule.ended_s`."""
        return _not_since(runs, self._p.yawn_end_s, event)


class _Vats:
    """Many glances: so much of a window away in total, counted anew after a rest on the road."""

    name: EventKind = "distraction_vats"
    signal: Signal = "head_away"
    measure = "head_away_s"

    def __init__(self, profile: Profile) -> None:
        self._p = profile

    def holds(self, runs: Runs) -> _Holds | None:
        """See `_Rule.holds`."""
        since_s = runs.since_rest_s(self._p.vats_reset_s, self._p.vats_window_s)
        if since_s is None or not runs.value or not runs.dense:
            return None
        away_s = round(runs.seconds(True, since_s), 6)  # noqa: FBT003 - a value of the signal
        return _Holds(since_s, self.name, "medium", away_s) if away_s >= self._p.vats_sum_s else None

    def ended_s(self, runs: Runs, event: Event) -> float | None:
        """See `_Rule.ended_s`."""
        return _not_since(runs, self._p.vats_reset_s, event)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An object in such a share of a stretch of such a length."""

    name: EventKind
    severity: Severity
    signal: Signal
    window_s: float
    end_s: float
    share: float
    measure: str = "seen_s"

    def holds(self, runs: Runs) -> _Holds | None:
        """See `_Rule.holds`."""
        since_s = runs.share_since_s(self.window_s, self.share) if runs.value and runs.dense else None
        if since_s is None:
            return None
        return _Holds(since_s, self.name, self.severity, runs.now_s - since_s)

    def ended_s(self, runs: Runs, event: Event) -> float | None:
        """See `_Rule.ended_s`."""
        return _not_since(runs, self.end_s, event)


def _not_since(runs: Runs, end_s: float, event: Event) -> float | None:
    """When the signal was last true, if that is so long ago."""
    until_s = event.started_s if runs.true_until_s is None else runs.true_until_s
    return until_s if passed_s(until_s, runs.now_s) >= end_s else None
