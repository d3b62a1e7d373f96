"""All of it: `make bench`. Every figure beside its baseline of the same run, in turn with it; medians of the rounds.

    python -m benchmarks [--rounds 5] [--quick]

Writes `benchmarks/results/latest.json`, `latest.md` and the plots beside them; after each round what there is until
then to `partial.json`. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import flush, lifecycle, scale, seed
from benchmarks.accuracy import ap50_changes
from benchmarks.ceiling import Ceiling, Rate
from benchmarks.frames import calm_and_drink, jpegs
from benchmarks.hops import hops_us
from benchmarks.host import host
from benchmarks.latency import KINDS, Latencies, measure, percentiles_ms
from benchmarks.pipeline import saturated, saturated_and_steady
from benchmarks.report import COUNTS, markdown, plots
from benchmarks.service import Measured, check_servers, service
from benchmarks.stub import STUB

RESULTS = Path(__file__).parent / "results"
SECONDS = 5.0
"""Of each measurement, warming up not counted."""
LATENCY_S = 12.0
FPS = 10.0
CALM_FPS = 4.0
"""At which eight vehicles are no more than two cores can take."""
AT_ONCE = 20
OF_MEMORY = (1, 10, 50)


class Results:
    """What has been measured so far.

    Attributes:
        rounds: Figures by name, one of each round.
        latencies: By the circumstances.
        once: What is measured once.
    """

    def __init__(self) -> None:
        self.rounds: dict[str, list[float]] = defaultdict(list)
        self.latencies: dict[str, Latencies] = defaultdict(Latencies)
        self.once: dict[str, Any] = {}

    def take(self, name: str, rate: Rate) -> None:
        """A rate of this round."""
        self.rounds[f"{name}_fps"].append(rate.fps)
        self.rounds[f"{name}_cpu_ms"].append(rate.cpu_ms)

    def take_latencies(self, circumstances: str, found: Latencies) -> None:
        """Those of this round."""
        self.latencies[circumstances].add(found)

    def plain(self) -> dict[str, Any]:
        """All figures, and of them the headline: ratios of rates are medians of each round's own."""
        percentiles = {
            f"{kind} {circumstances}": dict(zip(("p50", "p95", "p99"), percentiles_ms(values), strict=True))
            for circumstances, latencies in self.latencies.items()
            for kind in KINDS
            if (values := getattr(latencies, kind))
        }
        headline = self._headline(percentiles)
        return {
            "host": host(),
            "headline": {name: None if value is None else round(value, 3) for name, value in headline.items()},
            **self.once,
            "latency_ms": percentiles,
            "latency_counts": {
                f"{kind} {circumstances}": len(getattr(latencies, kind))
                for circumstances, latencies in self.latencies.items()
                for kind in KINDS
            },
            "latency_missed": {name: latencies.missed for name, latencies in self.latencies.items()},
            "medians": {name: _median(values) for name, values in self.rounds.items()},
            "rounds": self.rounds,
        }

    def median(self, name: str) -> float | None:
        """Of the rounds; None when it was not measured."""
        return _median(self.rounds[name]) if self.rounds.get(name) else None

    def _headline(self, percentiles: dict[str, dict[str, float]]) -> dict[str, float | None]:
        echo, relay, alert = (percentiles.get(f"{kind} at {FPS:.0f}") for kind in ("echo", "relay", "alert"))
        one_frame_fps = self.median("one_frame_fps")
        changes = self.once.get("ap50_changes")
        return {
            "pipeline_over_ceiling": self._of_each("pipeline_8_fps", "ceiling_fps", _ratio),
            "cpu_ms_per_frame": self._of_each("pipeline_8_cpu_ms", "ceiling_cpu_ms", lambda a, b: a - b),
            "pipeline_over_seed": self._of_each("pipeline_8_fps", "seed_fps", _ratio),
            "overhead_fps": self.median("overhead_fps"),
            "ceiling_over_torch": self._of_each("ceiling_fps", "torch_fps", _ratio),
            "relay_p50_over_echo": relay["p50"] / echo["p50"] if relay and echo else None,
            "relay_p99_over_echo": relay["p99"] / echo["p99"] if relay and echo else None,
            "alert_p95_over_model": alert["p95"] * one_frame_fps / 1000 if alert and one_frame_fps else None,
            "open_over_actor": self._of_each("open_1_s", "bare_1_s", _ratio),
            "open_20_over_actors": self._of_each(f"open_{AT_ONCE}_s", f"bare_{AT_ONCE}_s", _ratio),
            "uss_mb_per_vehicle": self.median("uss_10_mb"),
            "map50_change": statistics.mean(changes.values()) if changes else None,
        }

    def _of_each(self, a: str, b: str, what: Callable[[float, float], float]) -> float | None:
        pairs = list(zip(self.rounds.get(a, ()), self.rounds.get(b, ()), strict=False))
        return _median([what(one, other) for one, other in pairs]) if pairs else None


def main() -> None:
    """Run, print the table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="eight vehicles only, which is all that the headline needs"
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    results = Results()
    check_servers()
    frames = jpegs()
    results.once["ap50_changes"] = ap50_changes()
    ceiling = Ceiling(frames)
    results.once["ceiling_batch"] = ceiling.batch
    with service() as real:
        for _ in _rounds(results, arguments.rounds, "models and pipeline"):
            _baselines(results, real, ceiling, frames)
            _pipeline(results, real, frames, quick=arguments.quick)
            calm, drink = calm_and_drink()
            for fps in (FPS, CALM_FPS):
                found = measure(real, calm, drink, vehicles=8, fps=fps, seconds=LATENCY_S)
                results.take_latencies(f"at {fps:.0f}", found)
    with service(import_path=STUB, stores=True) as stub:
        for _ in _rounds(results, arguments.rounds, "overhead and vehicles"):
            _overhead(results, stub, frames)
            _vehicles(results, stub, frames[0])
            if not arguments.quick:
                _flush(results, stub, frames)
        for count in OF_MEMORY[1:2] if arguments.quick else OF_MEMORY:  # once: it hardly varies
            uss_mb, idle_ms = lifecycle.held(stub, count, frames[:20])
            results.rounds[f"uss_{count}_mb"].append(uss_mb)
            results.rounds[f"idle_{count}_ms_a_s"].append(idle_ms)
    _on_paper(results, frames)
    _write(results)
    if not arguments.quick:
        _scale(results, frames)
        _write(results)
    print((RESULTS / "latest.md").read_text())
    _partial().unlink()


def _write(results: Results) -> None:
    plain = results.plain()
    (RESULTS / "latest.json").write_text(json.dumps(plain, indent=1) + "\n")
    (RESULTS / "latest.md").write_text(markdown(plain))
    plots(plain, RESULTS)


def _baselines(results: Results, real: Measured, ceiling: Ceiling, frames: Sequence[bytes]) -> None:
    real.settle()
    baselines: dict[str, Callable[[], Rate | None]] = {
        "ceiling": lambda: ceiling.run(SECONDS),
        "one_frame": lambda: ceiling.run(SECONDS, 1),
        "torch": lambda: ceiling.run_in_torch(SECONDS),
        "seed": lambda: seed.saturated(frames, SECONDS),
    }
    for name, run in baselines.items():
        with real.paused():
            rate = run()
        real.settle()
        if rate:
            results.take(name, rate)


def _pipeline(results: Results, real: Measured, frames: Sequence[bytes], *, quick: bool) -> None:
    for count in (8,) if quick else COUNTS:
        full, steady = saturated_and_steady(real, count, frames, SECONDS, 0.0 if quick else FPS)
        results.take(f"pipeline_{count}", full)
        if steady:
            results.take(f"steady_{count}", steady)
        if count == 8:
            _take_roles(results, "pipeline_8", full)


def _overhead(results: Results, stub: Measured, frames: Sequence[bytes]) -> None:
    rate = saturated(stub, 8, frames, SECONDS)
    results.take("overhead", rate)
    _take_roles(results, "overhead", rate)
    with stub.paused():
        for hop, cost_us in hops_us(frames).items():
            results.rounds[f"hop {hop}"].append(cost_us)


def _take_roles(results: Results, name: str, rate: Rate) -> None:
    for role, spent_s in rate.cpu_s_by_role.items():
        results.rounds[f"{name}_ms {role}"].append(1000 * spent_s / rate.frames)


def _vehicles(results: Results, stub: Measured, jpeg: bytes) -> None:
    for count in (1, AT_ONCE):
        open_s, close_s = lifecycle.open_and_close_s(stub, count, jpeg)
        results.rounds[f"open_{count}_s"].append(open_s)
        results.rounds[f"close_{count}_s"].append(close_s)
        with stub.paused():
            results.rounds[f"bare_{count}_s"].append(lifecycle.bare_actors_s(count))


def _flush(results: Results, stub: Measured, frames: Sequence[bytes]) -> None:
    results.take_latencies("quiet", flush.quiet(stub, frames, LATENCY_S))
    found = flush.flushed(stub, frames, LATENCY_S)
    results.take_latencies("while four trips are flushed", found.beside)
    results.rounds["flush_fps"].append(found.fps)
    results.rounds["flush_s"].append(found.seconds)
    with stub.paused():
        results.rounds["encoder_fps"].append(flush.encoder_fps(frames))


def _on_paper(results: Results, frames: Sequence[bytes]) -> None:
    medians = {name: _median(values) for name, values in results.rounds.items()}
    idle_ms_a_s = medians["idle_10_ms_a_s"]
    of_vehicles, of_gateway = medians["overhead_ms vehicles"], medians["overhead_ms Gateway"]
    costs = scale.Costs(
        models=medians["ceiling_cpu_ms"],
        gateway=of_gateway,
        ray=medians["overhead_cpu_ms"] - of_vehicles - of_gateway,
        broker=medians["overhead_ms broker"],
        vehicle=of_vehicles - 8 * idle_ms_a_s / medians["overhead_fps"],
        vehicle_idle=idle_ms_a_s,
        vehicle_mb=medians["uss_10_mb"],
        frame_kb=statistics.mean(map(len, frames)) / 1000,
    )
    results.once["on_paper"] = [asdict(scale.on_paper(vehicles, costs)) for vehicles in scale.FLEETS]


def _scale(results: Results, frames: Sequence[bytes]) -> None:
    """Once: it shows behaviour."""
    results.once |= {"replicas": {}, "nodes": {}, "card_fps": scale.card_fps(frames)}
    for count in scale.COUNTS:
        results.once["replicas"][count] = scale.replicas(count, frames)
        results.once["nodes"][count] = asdict(scale.nodes(count, frames))
        _write(results)


def _rounds(results: Results, count: int, what: str) -> Iterator[int]:
    from tqdm import tqdm  # noqa: PLC0415 - none where it is imported for its parts

    RESULTS.mkdir(exist_ok=True)
    for number in tqdm(range(count), desc=what):
        yield number
        _partial().write_text(json.dumps(results.plain(), indent=1) + "\n")


def _partial() -> Path:
    return RESULTS / "partial.json"


def _ratio(a: float, b: float) -> float:
    return a / b


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
