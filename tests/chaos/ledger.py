"""What a fault may cost and what it did: frames relayed, accepted and found again, vehicle by vehicle."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.app import FIRST_EAR
from tests.chaos.fleet import Relayed
from tests.chaos.world import Stored

LINGER_S = 1.0
"""What a Gateway had sent when it ended is heard within this time; a new one takes longer to start."""


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a Gateway, alone or with everything else.

    Args:
        at_s: Monotonic clock when it was gone.
        accepted: Numbers of the frames that were accepted then, by vehicle.
    """

    at_s: float
    accepted: Mapping[uuid.UUID, Collection[int]]


@dataclass(frozen=True, slots=True)
class Account:
    """One vehicle's frames, by number.

    Args:
        relayed: How many were heard on `base64/`.
        must: Flagged ones that may not be missing.
        missing: Those that are.
        given_up: Flagged ones that were relayed, not accepted when their Gateway died, and are not there.
        strange: Rows or pictures of frames that nobody flagged.
        stored: What is there.
        duplicates: What is there twice, in words.
    """

    relayed: int
    must: frozenset[int]
    missing: frozenset[int]
    given_up: frozenset[int]
    strange: frozenset[int]
    stored: Stored
    duplicates: tuple[str, ...]


def must_be_there(
    relayed: Sequence[Relayed], flagged: Collection[int], deaths: Sequence[Death], vehicle: uuid.UUID
) -> frozenset[int]:
    """The accepted frames: every flagged one that was relayed, but for those that a Gateway took with it.

    A Gateway answers for what its actors had accepted when it died; what it relayed besides is lost with it.
    """
    last_s = deaths[-1].at_s + LINGER_S if deaths else 0.0
    heard = {one.number for one in relayed if one.at_s > last_s and one.number in flagged}
    return frozenset(heard.union(*(death.accepted.get(vehicle, ()) for death in deaths)))


def account(
    relayed: Sequence[Relayed],
    flagged: Collection[int],
    deaths: Sequence[Death],
    vehicle: uuid.UUID,
    *,
    stored: Stored,
    trips: int,
) -> Account:
    """Settle a vehicle's frames against what is stored of it.

    Args:
        relayed: What was heard of it.
        flagged: Numbers of the frames that were sent to be flagged.
        deaths: Of Gateways, in order.
        vehicle: Its UUID.
        stored: What is there.
        trips: How many it has made.
    """
    must = must_be_there(relayed, flagged, deaths, vehicle)
    rows, pictures = set(stored.rows), set(stored.pictures)
    return Account(
        relayed=len(relayed),
        must=must,
        missing=must - rows,
        given_up=frozenset(one.number for one in relayed if one.number in flagged) - must - rows,
        strange=frozenset((rows | pictures) - set(flagged)),
        stored=stored,
        duplicates=tuple(_duplicates(stored, trips)),
    )


def _duplicates(stored: Stored, trips: int) -> list[str]:
    found = {
        "rows of one frame": len(stored.rows) - len(set(stored.rows)),
        "pictures of one frame": len(stored.pictures) - len(set(stored.pictures)),
        "pictures without a row": len(set(stored.pictures) - set(stored.rows)),
        "videos of one object": len(stored.objects) - len(set(stored.objects)),
        "videos of one trip": max(0, len(stored.objects) - trips),  # none of these trips is long enough for two parts
        "rows in dms_trips": max(0, len(stored.trips) - trips),
    }
    return [f"{n} {what}" for what, n in found.items() if n]


def accepted_now(data_dir: Path) -> dict[uuid.UUID, set[int]]:
    """The frames that the journals hold, by vehicle; read from copies, since their owners may be writing."""
    from actors.journal import Journal, left_behind  # noqa: PLC0415

    accepted: dict[uuid.UUID, set[int]] = defaultdict(set)
    with tempfile.TemporaryDirectory(prefix="dms-") as folder:
        for path in left_behind(data_dir / "journal"):
            journal = Journal.open(Path(shutil.copy(path, folder)))
            accepted[journal.summary.trip.vehicle] |= {round(row.ear - FIRST_EAR) for row in journal.alerts()}
            journal.release()
    return accepted
