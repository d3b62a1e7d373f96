"""Pages of what is stored: `limit` and `cursor` in, `items` and `next_cursor` out."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, Field

from serve_app.adapters.stored import Cursor, Page

MOST = 1000
_TEXT = re.compile(rb"([0-9]{1,14})\.([0-9]{1,18})")

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class PageOut(BaseModel, Generic[M]):
    """Some of them, newest first."""

    items: list[M] = Field(description="Newest first")
    next_cursor: str | None = Field(
        description="`cursor` of the next page; null when this is the last", examples=["MTc5NTg3MTYyMDk0Mi43"]
    )


def _checked(text: str) -> str:
    read_cursor(text)
    return text


Limit = Annotated[int, Query(ge=1, le=MOST, description="At most so many")]
CursorText = Annotated[
    str | None,
    Query(max_length=64, description="`next_cursor` of the page before"),
    AfterValidator(lambda text: text if text is None else _checked(text)),
]


def page_out(page: Page[T], model: type[M]) -> PageOut[M]:
    """The answer, of rows that have the model's attributes."""
    items = [model.model_validate(row) for row in page.rows]
    return PageOut(items=items, next_cursor=write_cursor(page.next) if page.next else None)


def write_cursor(cursor: Cursor) -> str:
    """As text that means nothing to others."""
    return base64.urlsafe_b64encode(b"%d.%d" % cursor).rstrip(b"=").decode()


def read_cursor(text: str | None) -> Cursor | None:
    """Of `write_cursor`.

    Raises:
        ValueError: It is not.
    """
    if text is None:
        return None
    try:
        found = _TEXT.fullmatch(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError):  # the latter for what is no ASCII
        found = None
    if found is None:
        raise ValueError("no cursor of this API")
    return Cursor(int(found[1]), int(found[2]))
