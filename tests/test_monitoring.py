"""The rules for Prometheus and the dashboard for Grafana are valid, and ask for what shaper exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import trio
import yaml

from shaper.control.metrics import MetersCollector
from shaper.live.state import Meters
from tests.control.front import Front

FOLDER = Path(__file__).parents[1] / "docs" / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
# What Grafana puts in.
VARIABLES = {"$__rate_interval": "5m", "$__range": "15m", "$instance": ".*"}
ADDED = {"up": {"job", "instance"}}
"""Metrics that Prometheus makes itself, with their labels."""


def expressions() -> Iterator[tuple[str, str]]:
    """All expressions, each with its place."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def exported() -> dict[str, set[str]]:
    """The names of all time series that shaper exports, with their labels."""
    meters: Meters = trio.run(Front().meters)
    series: dict[str, set[str]] = {}
    for metric in MetersCollector(meters, "0").collect():
        for sample in metric.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series


EXPORTED = exported()


@pytest.mark.parametrize(("place", "text"), list(expressions()))
def test_expressions_ask_for_what_is_exported(place: str, text: str) -> None:
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    promql_parser.parse(text)
    names = set(re.findall(r"\b(?:shaper_\w+|up)\b", text))
    assert names
    known = {"instance"}.union(*({**EXPORTED, **ADDED}[name] for name in names))
    by = re.findall(r"\bby \(([^)]*)\)", text)
    used = {label.strip() for labels in by for label in labels.split(",")}
    used |= set(re.findall(r"(\w+)=~?\"", text))
    assert used <= known, f"{place}: {used - known}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Shaper[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}
    labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert labels <= {"instance", "reason"}


def test_everything_exported_is_on_the_dashboard() -> None:
    text = " ".join(text for _, text in expressions())
    shown = {name for name in EXPORTED if re.search(rf"\b{name}\b", text)}
    assert {name for name in EXPORTED if not name.endswith(("_sum", "_count"))} - shown == {"shaper_build_info"}
    assert "shaper_build_info" in DASHBOARD["templating"]["list"][1]["query"]["query"]


def test_panels_do_not_overlap() -> None:
    places = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_prometheus_reads_the_rules() -> None:
    if shutil.which("promtool") is None:
        return  # the tests above parse all expressions
    subprocess.run(["promtool", "check", "rules", FOLDER / "alerts.yml"], check=True)
