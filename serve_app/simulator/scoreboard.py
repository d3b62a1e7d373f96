"""Looks on while a simulated fleet drives: its broker and its HTTP API, as anybody sees them."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

from serve_app.client import AnswerError
from serve_app.simulator.asked import STORED_TIMEOUT_S, Asked
from serve_app.simulator.device import Sent
from serve_app.simulator.heard import Listener
from serve_app.simulator.score import Answers, Relayed, Score

SETTLE_TIMEOUT_S = 60.0
QUIET_S = 5.0
"""When no frame has come back for so long, none is waited for any more."""
_POLL_S = 0.05
_LOOK_S = 0.5
_LINGER_S = 1.0


class Scoreboard:
    """Looks on while a fleet drives (see `replay.Watch`), and says at the end what became of it. A `with` block.

    Args:
        listener: Hears the broker.
        asked: Asks the service.
        progress: Whether to show a bar on stderr while it waits; None: on a terminal only.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        listener: Listener,
        asked: Asked,
        *,
        progress: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._listener = listener
        self._asked = asked
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            opening.enter_context(self._listener)
            opening.enter_context(self._asked)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def sends(self, vehicle: uuid.UUID, jpeg: bytes) -> None:
        """See `Watch.sends`."""
        self._listener.relays.sends(vehicle, jpeg)

    def all_sent(self, frames: int) -> None:
        """See `Watch.all_sent`: wait for what is still under way, since a stream's numbers go with it."""
        self._await_relays(frames)
        end_s = self._clock() + SETTLE_TIMEOUT_S
        while not self._asked.silence:
            with contextlib.suppress(AnswerError):
                self._asked.look()
            if not self._asked.driven.backlog or self._clock() >= end_s:
                return
            self._sleep(_LOOK_S)

    def score(self, sent: Sequence[Sent]) -> Score:
        """Wait until all is stored, Ctrl-C ends that early, and say what became of these vehicles' frames."""
        answers = None
        if self._asked.silence:
            self._sleep(_LINGER_S)  # for what the end of a trip says
        else:
            answers = self._answers(len(sent))
        with contextlib.suppress(KeyboardInterrupt):
            self._await_relays(sum(one.frames for one in sent))
        relays, said = self._listener.relays, self._listener.said
        return Score(
            sent=sent,
            relayed=Relayed(
                frames=relays.relayed,
                strange=relays.strange,
                p50_s=relays.after_s(0.5),
                p95_s=relays.after_s(0.95),
                deaf=self._listener.deaf,
            ),
            alerts=said.alerts,
            event_messages=said.event_messages,
            events=len(said.events),
            answers=answers,
            silence=self._asked.silence,
        )

    def _answers(self, vehicles: int) -> Answers:
        left, rows = None, None
        disable = None if self._progress is None else not self._progress
        bar = tqdm(desc="stored", total=vehicles, unit=" vehicles", disable=disable)
        with contextlib.suppress(AnswerError), bar:
            try:
                left, rows = self._asked.await_stored(
                    STORED_TIMEOUT_S,
                    events=lambda: len(self._listener.said.events),
                    tell=lambda left: _show(bar, vehicles - left),
                )
            except KeyboardInterrupt:
                rows = self._asked.rows()
            self._asked.look()
        return Answers(self._asked.driven, self._asked.dropped, self._asked.began_anew, left, rows)

    def _await_relays(self, frames: int) -> None:
        """Return when so many frames have come back, or none does any more."""
        relays = self._listener.relays
        heard, moved_s = relays.relayed, self._clock()
        while relays.relayed < frames and self._clock() - moved_s < QUIET_S:
            self._sleep(_POLL_S)
            if relays.relayed != heard:
                heard, moved_s = relays.relayed, self._clock()


def _show(bar: tqdm, done: int) -> None:
    bar.update(done - bar.n)
