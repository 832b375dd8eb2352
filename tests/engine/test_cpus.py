"""How many CPUs are planned for: the cgroup's quota, never more than the affinity allows."""

import os
from pathlib import Path

import pytest

from engine import cpus

HOST = len(os.sched_getaffinity(0))


@pytest.fixture
def cgroup(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "cpu.max", tmp_path / "cpu.cfs_quota_us", tmp_path / "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", HOST),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("150000 100000\n", min(2, HOST)),
        ("100000000 100000\n", HOST),
        ("", HOST),
        ("nonsense\n", HOST),
        ("100000 0\n", HOST),
    ],
)
def test_the_quota_of_cgroup_v2_is_rounded_up(
    cgroup: tuple[Path, Path, Path], text: str, expected: int
) -> None:
    cgroup[0].write_text(text)
    assert cpus.available(*cgroup) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("-1", "100000", HOST), ("100000", "100000", 1), ("150000", "100000", min(2, HOST))],
)
def test_the_quota_of_cgroup_v1_is_rounded_up(
    cgroup: tuple[Path, Path, Path], quota: str, period: str, expected: int
) -> None:
    cgroup[1].write_text(quota + "\n")
    cgroup[2].write_text(period + "\n")
    assert cpus.available(*cgroup) == expected


def test_without_a_cgroup_the_affinity_counts(cgroup: tuple[Path, Path, Path]) -> None:
    assert cpus.available(*cgroup) == HOST


def test_this_machine_has_at_least_one_cpu() -> None:
    assert 1 <= cpus.available() <= HOST
