"""The full 1B shape compiles within the memory of a small machine. Slow: run with -m slow.

Takes about a minute and 10 GB of memory; the figures are printed with -s.
"""

import resource
import time
from pathlib import Path

import pytest

from engine.backends.tensorrt import library, plans
from engine.backends.tensorrt.manifest import Manifest
from engine.config import BuildRequest, EngineConfig
from loadtests import nemotron

RUNTIME = "tensorrt-rtx"


@pytest.mark.slow
@pytest.mark.skipif(
    not library.installed(RUNTIME), reason=f"{RUNTIME} is not installed (it is in the dev extra)"
)
def test_the_1b_compiles_with_all_attention_fused(tmp_path: Path) -> None:
    folder = nemotron.write(tmp_path / "1b")
    start = time.perf_counter()
    plan = plans.make(
        EngineConfig(checkpoint=str(folder)),
        BuildRequest(runtime=RUNTIME, compute_capability="8.9", output=tmp_path / "plan"),
        lambda share, phase: None,
    )
    seconds = time.perf_counter() - start
    manifest = Manifest.read(plan)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(  # noqa: T201 - what the test is run for
        f"\n1B, {manifest.identity.dtype}, profiles "
        f"{', '.join(map(str, manifest.identity.profiles))}: built in {seconds:.0f} s, peak memory "
        f"{peak_kib / 2**20:.1f} GiB, plan {manifest.plan_bytes / 1e9:.2f} GB, activations "
        f"{manifest.activation_bytes / 1e9:.2f} GB"
    )
    assert manifest.fused_attention == manifest.attention_layers == 16
    assert sum("q_proj" in name and "k_proj" in name for name in manifest.layers) == 16
