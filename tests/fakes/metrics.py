"""Where metrics go, in memory."""

from __future__ import annotations

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families


class FakeSeries:
    """Counters and gauges of `ray.serve.metrics`, with their values by name and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)
        self.calls = 0
        self.failures: list[Exception] = []

    def make(self, name: str, _description: str, tag_keys: tuple[str, ...]) -> FakeInstrument:
        """One of them."""
        return FakeInstrument(self, name, tag_keys)

    def has(self, name: str, value: float) -> bool:
        """Whether a series without labels has come to this value."""
        return self.values.get((name, frozenset())) == value

    def __getitem__(self, asked: str) -> float:
        """By what Prometheus' text would say: `name{label="value"}`."""
        [family] = text_string_to_metric_families(f"{asked} 0\n")
        [sample] = family.samples
        key = sample.name, frozenset(sample.labels.items())
        assert key in self.values, f"no {asked}"
        return self.values[key]


class FakeInstrument:
    """One name of `FakeSeries`."""

    def __init__(self, series: FakeSeries, name: str, tag_keys: tuple[str, ...]) -> None:
        self._series, self._name, self._tag_keys = series, name, tag_keys

    def inc(self, value: float, tags: dict[str, str]) -> None:
        """As `ray.serve.metrics.Counter.inc`."""
        assert value > 0
        self._record(value, tags)

    def set(self, value: float, tags: dict[str, str]) -> None:
        """As `ray.serve.metrics.Gauge.set`."""
        self._series.values.pop((self._name, frozenset(tags.items())), None)
        self._record(value, tags)

    def _record(self, value: float, tags: dict[str, str]) -> None:
        if self._series.failures:
            raise self._series.failures.pop(0)
        assert set(tags) == set(self._tag_keys)
        self._series.calls += 1
        self._series.values[self._name, frozenset(tags.items())] += value


class FakeKept:
    """`Kept`."""

    def __init__(self) -> None:
        self.texts: dict[bytes, bytes] = {}

    def put(self, key: str, text: str) -> None:
        """As the vehicle's actor does."""
        self.texts[key.encode()] = text.encode()

    def keys(self) -> list[bytes]:
        """See `Kept.keys`."""
        return list(self.texts)

    def get(self, key: bytes) -> bytes | None:
        """See `Kept.get`."""
        return self.texts.get(key)

    def delete(self, key: bytes) -> None:
        """See `Kept.delete`."""
        self.texts.pop(key, None)
