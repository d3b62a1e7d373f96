"""What was measured, for people: a table and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    """The table."""
    lines = [", ".join(f"{name} {value}" for name, value in results["host"].items()), ""]
    lines += ["| what | goal | here | |", "|---|---|---|---|"]
    for name, (what, goal) in GOALS.items():
        value = results["headline"][name]
        lines.append(
            f"| {what} | {goal} | {'not measured' if value is None else f'{value:.2f}'} | {_verdict(goal, value)} |"
        )
    lines += [
        "",
        "| vehicles | saturating, frames/s | CPU ms a frame | at 10 frames/s each | CPU ms a frame |",
        "|---|---|---|---|---|",
    ]
    medians = results["medians"]
    for count in (1, 2, 4, 8, 16, 32):
        if f"steady_{count}_fps" in medians:
            cells = (f"{kind}_{count}_{unit}" for kind in ("pipeline", "steady") for unit in ("fps", "cpu_ms"))
            lines.append(f"| {count} | " + " | ".join(f"{medians[cell]:.1f}" for cell in cells) + " |")
    lines += ["", "| milliseconds, 8 vehicles at frames/s each | p50 | p95 | p99 | seen |", "|---|---|---|---|---|"]
    for kind, values in results["latency_ms"].items():
        row = " | ".join(f"{values[p]:.1f}" for p in ("p50", "p95", "p99"))
        lines.append(f"| {kind} | {row} | {results['latency_counts'][kind]} |")
    lines += ["", "Not seen: " + ", ".join(f"{count} {at}" for at, count in results["latency_missed"].items()) + "."]
    if results["ap50_changes"]:
        lost = ", ".join(f"{label} {points:.2f}" for label, points in results["ap50_changes"].items())
        lines += ["", f"Points of AP50 lost: {lost}."]
    lines += ["", "Medians of all rounds:", ""]
    lines += [f"- {name} {value:g}" for name, value in medians.items()]
    return "\n".join(lines) + "\n"


def plots(results: dict[str, Any], folder: Path) -> None:
    """Cost against vehicles, and latency percentiles, as SVG."""
    import matplotlib as mpl  # noqa: PLC0415 - heavy

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    medians = results["medians"]
    counts = [count for count in (1, 2, 4, 8, 16, 32) if f"pipeline_{count}_cpu_ms" in medians]
    if len(counts) > 1:
        figure, axes = plt.subplots(figsize=(6, 4))
        for kind, label in (("pipeline", "saturating"), ("steady", "10 frames/s each")):
            axes.plot(counts, [medians[f"{kind}_{count}_cpu_ms"] for count in counts], marker="o", label=label)
        axes.axhline(medians["ceiling_cpu_ms"], linestyle="--", label="decoding and models alone")
        axes.set(xlabel="vehicles", ylabel="CPU milliseconds a frame", xscale="log", ylim=(0, None))
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.legend()
        figure.savefig(folder / "cost.svg", bbox_inches="tight")
    figure, axes = plt.subplots(figsize=(6, 4))
    kinds = list(results["latency_ms"])
    for at, percentile in enumerate(("p50", "p95", "p99")):
        axes.bar(
            [x + 0.25 * at for x in range(len(kinds))],
            [results["latency_ms"][kind][percentile] for kind in kinds],
            0.25,
            label=percentile,
        )
    axes.set(ylabel="milliseconds", yscale="log")
    axes.set_xticks([x + 0.25 for x in range(len(kinds))], kinds)
    axes.legend()
    figure.savefig(folder / "latency.svg", bbox_inches="tight")


def _verdict(goal: str, value: float | None) -> str:
    if value is None:
        return ""
    sign, number = goal.split()
    return "reached" if (value >= float(number)) is (sign == ">=") or value == float(number) else "not reached"
