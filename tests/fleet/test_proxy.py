"""Replicas behind the shipped proxy configuration: none of their clients notices a loss."""

import argparse
import re
from pathlib import Path

import pytest

from loadtests import scale
from tests.fleet.tools import tool

pytestmark = pytest.mark.fleet


def test_nothing_is_lost_when_replicas_die_drain_and_restart(
    bert_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("haproxy", "Debian's haproxy")
    monkeypatch.setenv("CROSSRANK_CHECKPOINT", str(bert_folder))
    given = argparse.Namespace(
        replicas=[2], requests=60, clients=4, passages=5, words=10, threads=1
    )
    found = scale.measure(given)
    throughput, events = found["throughput"], found["events"]
    assert isinstance(throughput, dict)
    assert isinstance(events, dict)
    outcomes = [throughput[2], *(events[n] for n in events if n != "replicas")]
    assert [outcome["lost"] for outcome in outcomes] == [{}] * 4
    assert all(outcome["answered"] >= 40 for outcome in outcomes)


def test_the_measured_proxy_is_the_shipped_one_but_for_its_addresses() -> None:
    shipped = scale.CONFIG.read_text()
    local = scale.proxy_config(shipped, 1234, [1, 2])
    added = set(local.splitlines()) - set(shipped.splitlines())
    removed = set(shipped.splitlines()) - set(local.splitlines())
    assert {line.split()[0] for line in added} == {"bind", "server"}
    assert all(re.search("resolv|8000|timeout r|hold", line) for line in removed)
