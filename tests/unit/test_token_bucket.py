"""A rate with a burst."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.token_bucket import TokenBucket
from tests.fakes.clock import FakeClock


def taken(bucket: TokenBucket, tries: int, now_s: float) -> int:
    """How many of these tries may happen."""
    return sum(bucket.take(now_s) for _ in range(tries))


def test_a_burst_passes_and_then_a_steady_rate() -> None:
    bucket, clock = TokenBucket(burst=100, per_s=10), FakeClock()
    assert taken(bucket, 500, clock()) == 100
    for _ in range(20):
        clock.advance(1.0)
        assert taken(bucket, 500, clock()) == 10


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    bucket, clock = TokenBucket(burst=5, per_s=10), FakeClock()
    clock.advance(3600)
    assert taken(bucket, 50, clock()) == 5
    clock.advance(3600)
    assert taken(bucket, 50, clock()) == 5


def test_who_keeps_asking_waits_no_longer() -> None:
    bucket, clock = TokenBucket(burst=1, per_s=10), FakeClock()
    assert bucket.take(clock())
    refused = 0
    while not bucket.take(clock()):
        refused += 1
        clock.advance(1 / 64)
    assert refused == 7, "a tenth of a second"


@given(
    burst=st.integers(1, 20),
    per_s=st.floats(0.1, 100),
    pauses_s=st.lists(st.floats(0, 10), max_size=200),
)
def test_no_span_of_time_has_more_than_a_burst_and_its_rate(burst: int, per_s: float, pauses_s: list[float]) -> None:
    bucket, clock = TokenBucket(burst=burst, per_s=per_s), FakeClock()
    at_s: list[float] = []
    for pause_s in pauses_s:
        clock.advance(pause_s)
        if bucket.take(clock()):
            at_s.append(clock())
    for first, since_s in enumerate(at_s):
        for last in range(first, len(at_s)):
            assert last - first + 1 <= burst + per_s * (at_s[last] - since_s) + 1e-6
