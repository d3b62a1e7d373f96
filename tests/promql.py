"""What the dashboard and the alerts ask of Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from serve_app.settings import PROJECT

DASHBOARD = PROJECT / "deploy" / "grafana" / "dashboard.json"
PROMETHEUS = PROJECT / "deploy" / "prometheus" / "prometheus.yml"
ALERTS = PROJECT / "deploy" / "prometheus" / "alerts.yml"


def dashboard_expressions(rate_interval: str = "1m") -> Iterator[tuple[str, str]]:
    """Each panel's title and PromQL.

    Args:
        rate_interval: For Grafana's variable of that name.
    """
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", rate_interval)


def rule_expressions() -> Iterator[tuple[str, str]]:
    """Each alert's name and PromQL."""
    rules: Any = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """The metrics that an expression names, with the values that it wants of their labels, alternatives as `a|b`."""
    found = re.findall(r"\b(ray_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, dict(re.findall(r'(\w+)=~?"([^"]*)"', matchers))) for name, matchers in found]
