"""The broker as it is watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from serve_app.live import Live


class FakeReader:
    """`Reader`; `hear` and `note` are what the broker would call.

    Attributes:
        wanted: Topics, and how many want each.
    """

    def __init__(self) -> None:
        self.wanted: Counter[str] = Counter()
        self.hear: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.note: Callable[[str], None] = lambda _state: None
        self.opened = 0

    def want(self, topics: Sequence[str]) -> None:
        """See `Reader.want`."""
        self.wanted.update(topics)

    def leave(self, topics: Sequence[str]) -> None:
        """See `Reader.leave`."""
        self.wanted.subtract(topics)
        self.wanted = +self.wanted

    def live(self) -> Live:
        """Watched through this."""

        def open_reader(hear: Callable[[str, bytes], None], note: Callable[[str], None]) -> FakeReader:
            self.opened += 1
            self.hear, self.note = hear, note
            return self

        return Live(open_reader)
