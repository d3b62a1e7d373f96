"""What becomes of measurements: also of a few, since a run of an hour may end early."""

from __future__ import annotations

from benchmarks.__main__ import Results
from benchmarks.ceiling import Rate
from benchmarks.latency import Latencies
from benchmarks.report import GOALS, markdown
from benchmarks.scale import Costs, on_paper

COSTS = Costs(
    models=25.0, gateway=1.0, ray=0.5, broker=0.2, vehicle=0.5, vehicle_idle=8.0, vehicle_mb=54.0, frame_kb=32.0
)


def test_without_any_measurement_the_table_says_so() -> None:
    results = Results()
    results.once["ap50_changes"] = None
    text = markdown(results.plain())
    assert text.count("not measured") == len(GOALS)


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    results = Results()
    for fps, limit_fps in ((40.0, 50.0), (90.0, 100.0), (10.0, 20.0)):
        results.take("pipeline_8", Rate(round(fps), 1.0, 2.0))
        results.take("ceiling", Rate(round(limit_fps), 1.0, 2.0))
    results.once["ap50_changes"] = {"phone": 0.2, "cigarette": 0.4}
    plain = results.plain()
    assert plain["headline"]["pipeline_over_ceiling"] == 0.8
    assert plain["headline"]["map50_change"] == 0.3
    text = markdown(plain)
    assert "| 0.80 | reached |" in text
    assert "phone 0.20, cigarette 0.40" in text


def test_latencies_of_all_rounds_are_one() -> None:
    results = Results()
    for relay_s in (0.001, 0.003):
        results.take_latencies("at 10", Latencies(relay=[relay_s] * 5, alert=[0.1], echo=[0.001], missed=1))
    plain = results.plain()
    assert plain["latency_ms"]["relay at 10"]["p50"] == 2.0
    assert plain["headline"]["relay_p50_over_echo"] == 2.0
    assert plain["latency_missed"] == {"at 10": 2}


def test_on_paper_each_part_grows_with_the_fleet() -> None:
    need = on_paper(200, COSTS)
    assert need.cores == {"models": 50.0, "vehicles": 2.6, "Gateways": 2.0, "Ray": 1.0, "brokers": 0.4}
    assert (need.gateways, need.brokers) == (3, 1)
    assert (need.memory_gb, need.network_mbit) == (10.8, 512.0)
    assert need.limit == "models"
