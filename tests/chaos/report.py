"""The table of the faults: one line each, aligned for a terminal and, where CHAOS_REPORT names a file, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """What one fault has cost.

    Args:
        fault: In words.
        began: UTC, when it was made.
        lasted_s: How long.
        relayed: Frames heard on `base64/`.
        accepted: Flagged ones among them that may not be missing.
        not_accepted: Flagged ones that were relayed, not accepted when their Gateway died, and are gone.
        dropped: Frames given up on purpose, as the service counts them.
        in_footage: Pictures in the MP4s.
        rows_expected: One for each accepted frame.
        rows_found: Frames that have a row.
        missing: Accepted frames without one.
        duplicates: Of rows, pictures, objects or trips.
        recovered_s: From the fault's end until frames were accepted again or, after a close, all was stored.
    """

    fault: str
    began: str
    lasted_s: float
    relayed: int
    accepted: int
    not_accepted: int
    dropped: int
    in_footage: int
    rows_expected: int
    rows_found: int
    missing: int
    duplicates: int
    recovered_s: float


HEADINGS = {
    "fault": "fault",
    "began": "at (UTC)",
    "lasted_s": "lasted s",
    "relayed": "relayed",
    "accepted": "accepted",
    "not_accepted": "relayed, not accepted",
    "dropped": "dropped",
    "in_footage": "in footage",
    "rows_expected": "rows expected",
    "rows_found": "rows found",
    "missing": "missing",
    "duplicates": "duplicates",
    "recovered_s": "recovered s",
}


def as_text(lines: Sequence[Line]) -> list[str]:
    """Aligned columns."""
    table = [list(HEADINGS.values()), *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    ]


def write_markdown(lines: Sequence[Line], path: Path) -> None:
    """A table."""
    rule = ["---", *["---:"] * (len(HEADINGS) - 1)]
    table = [list(HEADINGS.values()), rule, *map(_cells, lines)]
    path.write_text("".join(f"| {' | '.join(row)} |\n" for row in table))


def _cells(line: Line) -> list[str]:
    values = (getattr(line, field.name) for field in fields(line))
    return [f"{value:.1f}" if isinstance(value, float) else str(value) for value in values]
