"""From the observations of one vehicle to its per-frame metrics: pure, by timestamps, never by frame counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.camera import Camera
from models.events import FLAGGING, Event, Events, Signs
from models.profiles import Profile
from models.runs import passed_s
from models.senses import Limits, Reading, Senses
from models.types import Condition, Face, Label, Observation

SMOKING: frozenset[Label] = frozenset({"cigarette", "smoke", "vape"})


@dataclass(frozen=True, slots=True)
class FrameMetrics:
    """What one frame says in the light of those before it.

    Args:
        ear: Eye aspect ratio; 0 when no face was found.
        mar: Mouth aspect ratio; 0 when no face was found.
        sleep_duration_s: How long the eyes have been closed; 0 until that has lasted its time.
        yawning_duration_s: How long the mouth has been open; likewise.
        focus_duration_s: How long the head has been away; likewise.
        labels: The objects seen in it, alphabetical, each once.
        events: Those that began, got worse or ended with it.
        event_flags: Whether an event of severity medium or above runs.
    """

    ear: float
    mar: float
    sleep_duration_s: float
    yawning_duration_s: float
    focus_duration_s: float
    labels: tuple[Label, ...]
    events: tuple[Event, ...] = ()
    event_flags: bool = False

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that have lasted their time."""
        durations: dict[Condition, float] = {
            "sleeping": self.sleep_duration_s,
            "yawning": self.yawning_duration_s,
            "not focus": self.focus_duration_s,
        }
        return tuple(name for name, duration_s in durations.items() if duration_s > 0)

    @property
    def flagged(self) -> bool:
        """Whether the frame belongs into the footage."""
        return bool(self.labels or self.conditions or self.event_flags)


class Policy:
    """The conditions and events of one driver over one trip; every vehicle has its own."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._senses = Senses(profile)
        self._camera = Camera()
        self._events = Events(profile)
        self._since_s: dict[Condition, float] = {}
        self._last_frame_s: float | None = None
        self._last_face_s: float | None = None
        self._last_eyes_s: float | None = None  # they were seen well enough to judge
        self._faceless = 0  # frames in a row without a face
        self._face: Face | None = None  # the last

    def step(self, observation: Observation, captured_s: float) -> FrameMetrics:
        """Take one frame further.

        Args:
            observation: What the models say of the frame.
            captured_s: Monotonic seconds; must not fall within a trip.

        Returns:
            The metrics of this frame.
        """
        if self._last_frame_s is not None and passed_s(self._last_frame_s, captured_s) > self._profile.gap_s:
            self._since_s.clear()
        self._last_frame_s = captured_s

        face = observation.face
        if face is not None and face.xyxy[2] - face.xyxy[0] < self._profile.smallest_face_px:
            face = None
        reading: Reading | None = None
        self._faceless += face is None
        lost = self._last_face_s is None or passed_s(self._last_face_s, captured_s) >= self._profile.face_lost_s
        if lost and self._faceless > 1:  # one of them says nothing, however far apart frames are
            self._since_s.clear()
        if face is not None:
            self._faceless = 0
            self._last_face_s = captured_s
            self._face = face
            reading = self._senses.read(face, captured_s)
            self._take(reading, captured_s)
        signs = _signs(reading, observation, self._camera.is_blind(observation.picture))
        events = self._events.step(signs, captured_s)

        return FrameMetrics(
            ear=observation.face.ear if observation.face else 0.0,
            mar=observation.face.mar if observation.face else 0.0,
            sleep_duration_s=self._lasted_s("sleeping", captured_s),
            yawning_duration_s=self._lasted_s("yawning", captured_s),
            focus_duration_s=self._lasted_s("not focus", captured_s),
            labels=tuple(sorted({d.label for d in observation.detections})),
            events=events,
            event_flags=any(event.severity in FLAGGING for event in self._events.running),
        )

    def end(self) -> tuple[Event, ...]:
        """The trip is over: the events that ran until its last frame."""
        return self._events.end()

    @property
    def name(self) -> str:
        """Name and version of the profile, as `default@2`."""
        return f"{self._profile.name}@{self._profile.version}"

    @property
    def running_events(self) -> tuple[Event, ...]:
        """Those that have begun and not ended, in the order in which they began."""
        return self._events.running

    @property
    def running(self) -> bool:
        """Whether a condition holds now, so that the frames to come depend on those before."""
        return bool(self._since_s) or self._events.restless

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs to go on from here: numbers and text only."""
        return {
            "since_s": dict(self._since_s),
            "last_frame_s": self._last_frame_s,
            "last_face_s": self._last_face_s,
            "last_eyes_s": self._last_eyes_s,
            "faceless": self._faceless,
            "policy": self.name,
            "senses": self._senses.snapshot(),
            "camera": self._camera.snapshot(),
            "events": self._events.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot, as if no other process had been in between; under other rules, calibrate anew."""
        self._since_s = dict(snapshot["since_s"])
        self._last_frame_s = snapshot["last_frame_s"]
        self._last_face_s = snapshot["last_face_s"]
        self._faceless = snapshot["faceless"]
        self._last_eyes_s = snapshot.get("last_eyes_s")  # not in those of older versions
        if snapshot.get("policy") == self.name:  # else the neutral pose would be that of other rules, or of none
            self._senses.restore(snapshot["senses"])
        self._camera.restore(snapshot["camera"])
        self._events.restore(snapshot["events"])

    @property
    def limits(self) -> Limits | None:
        """What the driver's measures are compared with now; None until there was a face."""
        return self._senses.limits(self._face) if self._face else None

    @property
    def state(self) -> str:
        """The driver state in words: what the last frame showed, whether or not it has lasted its time."""
        if self._last_face_s is None or self._faceless:
            return "no face"
        words: dict[Condition, str] = {"sleeping": "eyes closed", "yawning": "mouth open", "not focus": "head away"}
        calm = "calibrating" if self._senses.calibrating else "attentive"
        return ", ".join(words[name] for name in words if name in self._since_s) or calm

    def _take(self, reading: Reading, captured_s: float) -> None:
        eyes_closed = reading.eyes_closed
        if eyes_closed is not None:
            self._last_eyes_s = captured_s
        elif self._last_eyes_s is not None and passed_s(self._last_eyes_s, captured_s) < self._profile.face_lost_s:
            eyes_closed = "sleeping" in self._since_s
        holds: dict[Condition, bool] = {
            "sleeping": bool(eyes_closed),
            "yawning": reading.mouth_open,
            "not focus": reading.head_away,
        }
        for name, now in holds.items():
            if now:
                self._since_s.setdefault(name, captured_s)
            else:
                self._since_s.pop(name, None)

    def _lasted_s(self, name: Condition, captured_s: float) -> float:
        lasted_s = passed_s(self._since_s.get(name, captured_s), captured_s)
        return lasted_s if lasted_s >= self._profile.min_duration_s else 0.0


def _signs(reading: Reading | None, observation: Observation, blind: bool | None) -> Signs:  # noqa: FBT001 - it is a sign
    labels = {detection.label for detection in observation.detections}
    absent = None if blind else False  # what is not seen in such a picture may be there all the same
    return Signs(
        eyes_closed=reading.eyes_closed if reading else None,
        head_away=reading.head_away if reading else None,
        mouth_open=reading.mouth_open if reading else None,
        no_face=False if reading else (None if blind else True),
        blind=blind,
        phone="phone" in labels or absent,
        smoking=bool(labels & SMOKING) or absent,
        drinking="bottle" in labels or absent,
    )
