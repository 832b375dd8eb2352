"""Dashboards and alerts ask for metrics that exist, and every alert says what to do about it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.telemetry import Metrics
from engine.types import Waiting

DOCKER = Path(__file__).resolve().parent.parent / "docker"
DASHBOARD = json.loads((DOCKER / "grafana/dashboards/crossrank.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((DOCKER / "prometheus/rules.yaml").read_text())[
    "groups"
][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
# Not ours: Prometheus's own, and NVIDIA's dcgm-exporter's.
FOREIGN = {"up", "DCGM_FI_DEV_FB_USED"}
_WORDS = re.compile(r"\b(?:crossrank|process|nv_inference|DCGM)[a-zA-Z0-9_:]*|\bup\b")


def queries() -> list[tuple[str, str]]:
    """Every expression of every panel and rule, with its title."""
    panels = [(p["title"], t["expr"]) for p in DASHBOARD["panels"] for t in p["targets"]]
    return panels + [(rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES]


def exposed() -> dict[str, set[str]]:
    """Every series the service exposes, with its labels."""
    metrics = Metrics()
    metrics.watch_queue(Waiting)
    for name in ("requests", "request_seconds", "stage_seconds"):
        family = getattr(metrics, name)
        family.labels(*family._labelnames)
    return {
        sample.name: set(sample.labels)
        for family in metrics.registry.collect()
        for sample in family.samples
    }


EXPOSED = exposed()
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


@pytest.mark.parametrize(("title", "expression"), queries())
def test_every_metric_that_is_asked_for_exists(title: str, expression: str) -> None:
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"", "", expression)
    named = set(_WORDS.findall(bare))
    assert named, title
    assert named <= set(EXPOSED) | RECORDED | FOREIGN, title


@pytest.mark.parametrize(("title", "expression"), queries())
def test_every_label_that_is_asked_for_exists(title: str, expression: str) -> None:
    for name, matchers in re.findall(r"(crossrank_\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert asked <= EXPOSED[name] | {"job", "instance"}, title


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_every_alert_says_what_to_do(alert: str) -> None:
    page = (DOCKER / "README.md").read_text()
    section = page.split("## When an alert fires", 1)[1].split("\n## ", 1)[0]
    assert f"| `{alert}` |" in section


def test_every_panel_is_explained_and_has_its_place() -> None:
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    for panel in DASHBOARD["panels"]:
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
