"""How many CPUs this process may really use: affinity and cgroup quota, not the host's count."""

import math
import os
from pathlib import Path

_V2 = Path("/sys/fs/cgroup/cpu.max")
_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available(v2: Path = _V2, v1_quota: Path = _V1_QUOTA, v1_period: Path = _V1_PERIOD) -> int:
    """CPUs to plan threads for, at least 1."""
    affinity = len(os.sched_getaffinity(0))
    return max(1, min(affinity, _quota(v2, v1_quota, v1_period) or affinity))


def _quota(v2: Path, v1_quota: Path, v1_period: Path) -> int | None:
    """The cgroup's CPU quota rounded up, or None where there is none."""
    try:
        quota, period = v2.read_text().split() if v2.exists() else _read_v1(v1_quota, v1_period)
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no cgroup, or "max": no quota
        return None


def _read_v1(quota: Path, period: Path) -> tuple[str, str]:
    return quota.read_text(), period.read_text()
