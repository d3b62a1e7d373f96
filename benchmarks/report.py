"""What was measured, for people: a table and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

COUNTS = (1, 2, 4, 8, 16, 32)
"""Of vehicles."""

GOALS = {
    "pipeline_over_ceiling": ("pipeline / ceiling, 8 vehicles saturating", ">= 0.80"),
    "cpu_ms_per_frame": ("CPU ms a frame outside decoding and models", "<= 1.0"),
    "pipeline_over_seed": ("pipeline / the original system's way", ">= 8"),
    "overhead_fps": ("frames/s around a stub model", ">= 1500"),
    "ceiling_over_torch": ("ceiling / plain torch loop", ">= 5"),
    "relay_p50_over_echo": ("relay / the broker's own echo, p50", "<= 2"),
    "relay_p99_over_echo": ("relay / the broker's own echo, p99", "<= 3"),
    "alert_p95_over_model": ("publish to alert p95 / one frame's decoding and models", "<= 6"),
    "open_over_actor": ("open to first answer / start of a bare actor", "<= 0.8"),
    "open_20_over_actors": ("the same, 20 at once", "<= 0.8"),
    "uss_mb_per_vehicle": ("private MB a vehicle", "<= 60"),
    "map50_change": ("points of mAP50 lost by bfloat16", "<= 0.5"),
}


def markdown(results: dict[str, Any]) -> str:
    """The tables."""
    lines = [", ".join(f"{name} {value}" for name, value in results["host"].items()), ""]
    lines += ["| what | goal | here | |", "|---|---|---|---|"]
    for name, (what, goal) in GOALS.items():
        value = results["headline"][name]
        lines.append(
            f"| {what} | {goal} | {'not measured' if value is None else f'{value:.2f}'} | {_verdict(goal, value)} |"
        )
    if results["ap50_changes"]:
        lost = ", ".join(f"{label} {points:.2f}" for label, points in results["ap50_changes"].items())
        lines += ["", f"Points of AP50 lost: {lost}."]
    for table in (_by_vehicles, _latencies, _by_role, _hops, _lives, _scale, _on_paper):
        if rows := table(results):
            lines += ["", *rows]
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return lines + [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]


def _by_vehicles(results: dict[str, Any]) -> list[str]:
    medians = results["medians"]
    counts = [count for count in COUNTS if f"pipeline_{count}_fps" in medians]
    cells = [f"{kind}_{{}}_{unit}" for kind in ("pipeline", "steady") for unit in ("fps", "cpu_ms")]
    rows = [
        (count, *(f"{medians[name]:.1f}" if (name := cell.format(count)) in medians else "-" for cell in cells))
        for count in counts
    ]
    if not rows:
        return []
    heads = ("vehicles", "saturating, frames/s", "CPU ms a frame", "at 10 frames/s each", "CPU ms a frame")
    return _table(heads, rows)


def _latencies(results: dict[str, Any]) -> list[str]:
    rows = [
        (kind, *(f"{values[p]:.1f}" for p in ("p50", "p95", "p99")), results["latency_counts"][kind])
        for kind, values in results["latency_ms"].items()
    ]
    missed = ", ".join(f"{count} {circumstances}" for circumstances, count in results["latency_missed"].items())
    heads = ("milliseconds, 8 vehicles", "p50", "p95", "p99", "seen")
    return [
        *_table(heads, rows),
        "",
        "`at`: frames/s each; the others at 10 with a stub model.",
        f"Not seen: {missed}.",
    ]


def _by_role(results: dict[str, Any]) -> list[str]:
    medians = results["medians"]
    stub, models = "overhead_ms ", "pipeline_8_ms "
    roles = {name.removeprefix(stub): value for name, value in medians.items() if name.startswith(stub)}
    rows = [
        (role, f"{value:.2f}", f"{medians.get(models + role, 0.0):.2f}")
        for role, value in sorted(roles.items(), key=lambda one: -one[1])
    ]
    return _table(("CPU ms a frame of", "with a stub model", "with the models"), rows) if rows else []


def _hops(results: dict[str, Any]) -> list[str]:
    hops = {name[4:]: value for name, value in results["medians"].items() if name.startswith("hop ")}
    rows = [(hop, f"{value:.0f}") for hop, value in hops.items()]
    return _table(("hop, alone", "CPU us a frame"), rows) if rows else []


def _lives(results: dict[str, Any]) -> list[str]:
    names = {
        "open_1_s": "open_stream to the first push's answer, s",
        "bare_1_s": "a bare actor, s",
        "close_1_s": "close_stream to its row, s",
        "open_20_s": "20 at once: open_stream to the last first answer, s",
        "bare_20_s": "20 bare actors, s",
        "close_20_s": "20 at once: close_stream to the last row, s",
        **{f"uss_{count}_mb": f"private memory of one of {count}, MB" for count in (1, 10, 50)},
        "idle_10_ms_a_s": "CPU of a vehicle without frames, ms a second",
        "flush_s": "flush of four trips of 600 pictures beside eight vehicles, s",
        "flush_fps": "the same, pictures/s",
        "encoder_fps": "the encoder alone on one core, pictures/s",
    }
    rows = [(what, f"{results['medians'][name]:.2f}") for name, what in names.items() if name in results["medians"]]
    return _table(("a vehicle's life", ""), rows) if rows else []


def _scale(results: dict[str, Any]) -> list[str]:
    if "replicas" not in results:
        return []
    rows = [
        (count, f"{fps:.0f}", f"{results['nodes'][count]['fps']:.0f}", results["nodes"][count]["vehicles"])
        for count, fps in results["replicas"].items()
    ]
    cards = results["card_fps"]
    said = ", ".join(f"{fps:.0f} with {count}" for count, fps in cards.items()) if cards else "not measured"
    heads = ("Detectors of a card's speed", "frames/s, one node", "frames/s, a node each", "vehicles on the nodes")
    return [*_table(heads, rows), "", f"One card with the real models, frames/s by Detectors on it: {said}."]


def _on_paper(results: dict[str, Any]) -> list[str]:
    rows = [
        (
            need["vehicles"],
            *(f"{need['cores'][part]:.1f}" for part in ("models", "vehicles", "Gateways", "Ray", "brokers")),
            need["gateways"],
            need["brokers"],
            f"{need['memory_gb']:.1f}",
            f"{need['network_mbit']:.0f}",
            need["limit"],
        )
        for need in results.get("on_paper", ())
    ]
    cores = ("cores: models", "vehicles", "Gateways", "Ray", "brokers")
    heads = ("vehicles at 10 frames/s", *cores, "processes: Gateways", "brokers", "GB", "Mbit/s from devices", "most")
    return _table(heads, rows) if rows else []


def plots(results: dict[str, Any], folder: Path) -> None:
    """Cost against vehicles, and latency percentiles, as SVG."""
    import matplotlib as mpl  # noqa: PLC0415 - heavy

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    medians = results["medians"]
    if f"pipeline_{COUNTS[0]}_cpu_ms" in medians:
        figure, axes = plt.subplots(figsize=(6, 4))
        for kind, label in (("pipeline", "saturating"), ("steady", "10 frames/s each")):
            counts = [count for count in COUNTS if f"{kind}_{count}_cpu_ms" in medians]
            axes.plot(counts, [medians[f"{kind}_{count}_cpu_ms"] for count in counts], marker="o", label=label)
        axes.axhline(medians["ceiling_cpu_ms"], linestyle="--", label="decoding and models alone")
        axes.set(xlabel="vehicles", ylabel="CPU milliseconds a frame", xscale="log", ylim=(0, None))
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.legend()
        figure.savefig(folder / "cost.svg", bbox_inches="tight")
    figure, axes = plt.subplots(figsize=(6, 4))
    kinds = list(results["latency_ms"])
    for at, percentile in enumerate(("p50", "p95", "p99")):
        axes.barh(
            [x + 0.25 * at for x in range(len(kinds))],
            [results["latency_ms"][kind][percentile] for kind in kinds],
            0.25,
            label=percentile,
        )
    axes.set(xlabel="milliseconds", xscale="log")
    axes.set_yticks([x + 0.25 for x in range(len(kinds))], kinds)
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(folder / "latency.svg", bbox_inches="tight")


def _verdict(goal: str, value: float | None) -> str:
    if value is None:
        return ""
    sign, number = goal.split()
    return "reached" if (value >= float(number)) is (sign == ">=") or value == float(number) else "not reached"
