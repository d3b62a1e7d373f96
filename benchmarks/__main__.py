"""All of it: `make bench`. Every figure beside its baseline of the same run, in turn with it; medians of the rounds.

    python -m benchmarks [--rounds 5] [--quick]

Writes `benchmarks/results/latest.json`, `latest.md` and the plots beside them. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import lifecycle, seed
from benchmarks.accuracy import ap50_changes
from benchmarks.ceiling import Ceiling, Rate
from benchmarks.frames import calm_and_drink, jpegs
from benchmarks.host import host
from benchmarks.latency import Latencies, measure, percentiles_ms
from benchmarks.pipeline import STUB, saturated, steady
from benchmarks.report import markdown, plots
from benchmarks.service import Measured, service

RESULTS = Path(__file__).parent / "results"
VEHICLES = (1, 2, 4, 8, 16, 32)
SECONDS = 5.0
"""Of each measurement, warming up not counted."""
LATENCY_S = 12.0
FPS = 10.0
CALM_FPS = 4.0
"""At which eight vehicles are no more than two cores can take."""
AT_ONCE = 20
OF_MEMORY = (1, 10, 50)

Rounds = dict[str, list[float]]


def main() -> None:
    """Run, print the table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="eight vehicles only, which is all that the headline needs"
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    vehicles = (8,) if arguments.quick else VEHICLES
    frames = jpegs()
    rounds: Rounds = defaultdict(list)
    by_fps = {FPS: Latencies(), CALM_FPS: Latencies()}
    changes = ap50_changes()
    ceiling = Ceiling(frames)
    with service() as real:
        for _ in _numbered(arguments.rounds, "models and pipeline"):
            _take_baselines(rounds, real, ceiling, frames)
            for count in vehicles:
                _take(rounds, f"pipeline_{count}", saturated(real, count, frames, SECONDS))
                if not arguments.quick:
                    _take(rounds, f"steady_{count}", steady(real, count, frames, FPS, SECONDS))
            calm, drink = calm_and_drink()
            for fps, latencies in by_fps.items():
                found = measure(real, calm, drink, vehicles=8, fps=fps, seconds=LATENCY_S)
                for kind in ("echo", "relay", "alert"):
                    getattr(latencies, kind).extend(getattr(found, kind))
                latencies.missed += found.missed
    with service(import_path=STUB) as stub:
        for _ in _numbered(arguments.rounds, "overhead and actors"):
            _take(rounds, "overhead", saturated(stub, 8, frames, SECONDS))
            for count in (1, AT_ONCE):
                rounds[f"open_{count}_s"].append(lifecycle.open_s(stub, count, frames[0]))
                with stub.paused():
                    rounds[f"bare_{count}_s"].append(lifecycle.bare_actors_s(count))
        for count in OF_MEMORY[1:2] if arguments.quick else OF_MEMORY:  # once: it hardly varies
            rounds[f"uss_{count}_mb"].append(lifecycle.uss_mb(stub, count, frames[:20]))
    results = _results(rounds, by_fps, ceiling.batch, changes)
    text = markdown(results)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "latest.md").write_text(text)
    plots(results, RESULTS)


def _take_baselines(rounds: Rounds, real: Measured, ceiling: Ceiling, frames: Sequence[bytes]) -> None:
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
            _take(rounds, name, rate)


def _numbered(count: int, what: str) -> Any:
    from tqdm import tqdm  # noqa: PLC0415 - none where it is imported for its parts

    return tqdm(range(count), desc=what)


def _take(rounds: Rounds, name: str, rate: Rate) -> None:
    rounds[f"{name}_fps"].append(rate.fps)
    rounds[f"{name}_cpu_ms"].append(rate.cpu_ms)


def _results(
    rounds: Rounds, by_fps: dict[float, Latencies], batch: int, changes: dict[str, float] | None
) -> dict[str, Any]:
    """All figures, and of them the headline: ratios of rates are medians of each round's own."""

    def ratio(over: str, under: str) -> float | None:
        if not rounds.get(under):
            return None
        return _median([a / b for a, b in zip(rounds[over], rounds[under], strict=True)])

    percentiles = {
        f"{kind} at {fps:.0f}": dict(zip(("p50", "p95", "p99"), percentiles_ms(getattr(latencies, kind)), strict=True))
        for fps, latencies in by_fps.items()
        for kind in ("echo", "relay", "alert")
    }
    echo, relay, alert = (percentiles[f"{kind} at {FPS:.0f}"] for kind in ("echo", "relay", "alert"))
    outside = [a - b for a, b in zip(rounds["pipeline_8_cpu_ms"], rounds["ceiling_cpu_ms"], strict=True)]
    one_frame_ms = 1000 / _median(rounds["one_frame_fps"])
    headline: dict[str, float | None] = {
        "pipeline_over_ceiling": ratio("pipeline_8_fps", "ceiling_fps"),
        "cpu_ms_per_frame": _median(outside),
        "pipeline_over_seed": ratio("pipeline_8_fps", "seed_fps"),
        "overhead_fps": _median(rounds["overhead_fps"]),
        "ceiling_over_torch": ratio("ceiling_fps", "torch_fps"),
        "relay_p50_over_echo": relay["p50"] / echo["p50"],
        "relay_p99_over_echo": relay["p99"] / echo["p99"],
        "alert_p95_over_model": alert["p95"] / one_frame_ms,
        "open_over_actor": ratio("open_1_s", "bare_1_s"),
        "open_20_over_actors": ratio(f"open_{AT_ONCE}_s", f"bare_{AT_ONCE}_s"),
        "uss_mb_per_vehicle": _median(rounds["uss_10_mb"]) if rounds.get("uss_10_mb") else None,
        "map50_change": statistics.mean(changes.values()) if changes else None,
    }
    return {
        "host": host(),
        "headline": {name: None if value is None else round(value, 3) for name, value in headline.items()},
        "ceiling_batch": batch,
        "ap50_changes": changes,
        "latency_ms": percentiles,
        "latency_counts": {
            f"{kind} at {fps:.0f}": len(getattr(latencies, kind))
            for fps, latencies in by_fps.items()
            for kind in ("echo", "relay", "alert")
        },
        "latency_missed": {f"at {fps:.0f}": latencies.missed for fps, latencies in by_fps.items()},
        "medians": {name: _median(values) for name, values in rounds.items()},
        "rounds": rounds,
    }


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
