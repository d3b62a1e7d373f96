"""A stored trip under another profile, without running a model: `python -m models.rescore TRIP --profile euroncap`.

TRIP is a trip's UUID, whose traces are looked for in `DATA_DIR`, or the path of a trace; a trip in several parts has
several. Prints what would be said, and what is different from the profile that the trip was scored with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

from models.errors import one_line
from models.events import Event
from models.fetch import default_data_dir
from models.policy import Policy
from models.profiles import PROFILES, Profile, ProfileName
from models.trace import Row, TraceError, TraceHead, observation_of, read_trace


def main() -> int:
    """The command; answers with its exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.rescore", description=__doc__)
    parser.add_argument("trip", nargs="+", help="a trip's UUID, or the paths of its traces")
    parser.add_argument("--profile", choices=get_args(ProfileName), default="default")
    parser.add_argument("--json", action="store_true", help="the events under every profile, for a program")
    parser.add_argument("--footage", type=Path, help="where to look for traces (default: footage in DATA_DIR)")
    arguments = parser.parse_args()
    try:
        footage = arguments.footage or default_data_dir() / "footage"
        traces = read_traces([path for text in arguments.trip for path in _paths(text, footage)])
        if arguments.json:
            json.dump(under_every_profile(traces), sys.stdout)
            return 0
        sys.stdout.writelines(f"{line}\n" for line in report(traces, PROFILES[arguments.profile]))
    except (OSError, TraceError) as error:
        sys.stderr.write(f"{one_line(error)}\n")
        return 1
    return 0


Traces = Sequence[tuple[TraceHead, Sequence[Row]]]
"""Of the parts of one trip, in order."""


def read_traces(paths: Iterable[Path]) -> Traces:
    """The traces of one trip, in order.

    Raises:
        TraceError: One is none, or they are of several trips.
        OSError: One cannot be read.
    """
    traces = []
    for path in paths:
        try:
            traces.append(read_trace(path.read_text(encoding="utf-8")))
        except (TraceError, UnicodeDecodeError) as error:
            raise TraceError(f"{path}: {one_line(error)}") from error
    traces.sort(key=lambda trace: trace[0].part)
    if len({head.trip for head, _ in traces}) != 1:
        raise TraceError("expected the traces of one trip")
    return traces


def rescored(traces: Traces, profile: Profile) -> list[Event]:
    """The events of a trip under a profile, as they ended, in the order in which they began.

    Raises:
        TraceError: A row cannot be understood.
    """
    policy = Policy(profile)
    known: dict[int, Event] = {}
    for _, rows in traces:
        for row in rows:
            known.update({event.number: event for event in policy.step(*observation_of(row)).events})
    known.update({event.number: event for event in policy.end()})
    return sorted(known.values(), key=lambda event: (event.started_s, event.kind))


def under_every_profile(traces: Traces) -> dict[str, list[dict[str, Any]]]:
    """The events of a trip by name and version of the profile, as plain data.

    Raises:
        TraceError: A row cannot be understood.
    """
    return {
        f"{profile.name}@{profile.version}": [asdict(event) for event in rescored(traces, profile)]
        for profile in PROFILES.values()
    }


def report(traces: Traces, profile: Profile) -> Iterator[str]:
    """Lines for a person.

    Args:
        traces: Of one trip, in order.
        profile: To score it with.

    Raises:
        TraceError: They cannot be understood.
    """
    first = traces[0][0]
    name = first.policy.split("@")[0]
    before_profile = next((one for one in PROFILES.values() if one.name == name), None)
    if before_profile is None:
        raise TraceError(f"scored with the unknown profile {first.policy}")
    before, after = rescored(traces, before_profile), rescored(traces, profile)
    yield f"trip {first.trip} of vehicle {first.vehicle}: {sum(len(rows) for _, rows in traces)} frames"
    yield f"scored with {first.policy} by {first.models}; here with {before_profile.name}@{before_profile.version}"
    yield f"  and with {profile.name}@{profile.version}: - only before, + only now, ~ changed, = the same"
    both = {(event.kind, event.started_s) for event in before} & {(event.kind, event.started_s) for event in after}
    old = {(event.kind, event.started_s): event for event in before}
    for event in sorted(before, key=lambda one: one.started_s):
        if (event.kind, event.started_s) not in both:
            yield f"- {_line(event)}"
    for event in after:
        key = event.kind, event.started_s
        if key not in both:
            yield f"+ {_line(event)}"
        else:
            same = (event.severity, event.ended_s) == (old[key].severity, old[key].ended_s)
            yield f"{'=' if same else '~'} {_line(event)}{'' if same else f'  (was {_line(old[key])})'}"
    if not before and not after:
        yield "  no event under either"


def _line(event: Event) -> str:
    ended_s = event.started_s if event.ended_s is None else event.ended_s
    return f"{event.started_s:8.2f} - {ended_s:8.2f} s  {event.kind:18s} {event.severity}"


def _paths(text: str, footage: Path) -> list[Path]:
    try:
        trip = UUID(text)
    except ValueError:
        return [Path(text)]
    found = sorted(footage.glob(f"traces/*/{trip}*.json"))
    if not found:
        raise TraceError(f"trip {trip}: no trace in {footage}; a trip without footage keeps none")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
