"""What people see of the flow: plain data between the Gateway and the API."""

from __future__ import annotations

from dataclasses import dataclass

from actors.flush import FlushStatus
from actors.records import EventRecord
from models.senses import Limits
from models.types import Trip


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """What a Detector runs.

    Args:
        object_model: Its name, `none` without one.
        face_model: The pack's name.
    """

    object_model: str
    face_model: str


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """An open stream, for people.

    Args:
        trip: The open trip.
        frames: Accepted so far, and relayed unless they count as `not_relayed`.
        flagged: Of those pushed so far.
        dropped: Given up, by reason.
        backlog: Frames waiting for detection.
        driver_state: What the last frame showed, in words.
        node: Ray's id of the actor's node; None while it starts.
        pid: The actor's process; None while it starts.
        events: That run.
        limits: What the driver's measures are compared with; None until there was a face.
    """

    trip: Trip
    frames: int
    flagged: int
    dropped: dict[str, int]
    backlog: int
    driver_state: str
    node: str | None
    pid: int | None
    events: tuple[EventRecord, ...] = ()
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class FlushInfo:
    """A part on its way to the stores, and who brings it.

    Args:
        flush: Where it is; without a name of its object when only its journal is known.
        node: Ray's id of the node that has its journal.
        pid: The actor's process; None when no actor says that it works on it: the sweep will see to it.
    """

    flush: FlushStatus
    node: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class FlowHealth:
    """Whether frames can be taken.

    Args:
        broker: `connected`, or what is wrong.
        detector_replicas: How many are running.
        detector: What they run; None until one has answered.
        journal: `ok`, or why the open trips' journals are not complete on disk.
        streams: Open ones.
        refused: Everything refused or dropped since the start, by reason.
        batch_frames: In a batch, the mean of the last of them; None before the first.
    """

    broker: str
    detector_replicas: int
    detector: DetectorInfo | None
    journal: str
    streams: int
    refused: dict[str, int]
    batch_frames: float | None = None

    @property
    def takes_frames(self) -> bool:
        """Whether a frame that comes now would be relayed and looked at."""
        return self.broker == "connected" and self.detector_replicas > 0 and self.detector is not None
