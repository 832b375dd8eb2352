"""NVIDIA's own load tool, aiperf, against crossrank: how users of the NIM measure.

It looks for a tokenizer in a Hugging Face cache, so one is laid out for it; nothing is fetched.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from loadtests.bench.mixes import Request
from loadtests.bench.names import MODEL_NAME
from loadtests.bench.servers import Server

_MOST_SECONDS = 600
_REVISION = "seeded"  # the name of the only revision in the cache


def measure(
    server: Server, requests: Sequence[Request], concurrency: int, tool: Path, checkpoint: Path
) -> dict[str, float]:
    """Its figures for these requests, in a closed loop. tool: the aiperf command."""
    work = checkpoint.with_name("aiperf")
    asks = work / "requests.jsonl"
    home = _cache(work, checkpoint)
    asks.write_text("\n".join(map(_line, requests)) + "\n")
    command = [
        str(tool), "profile", "--model", MODEL_NAME, "--tokenizer", MODEL_NAME, "--url", server.url,
        "--endpoint-type", "nim_rankings", "--input-file", str(asks),
        "--custom-dataset-type", "single_turn", "--dataset-sampling-strategy", "sequential",
        "--concurrency", str(concurrency), "--request-count", str(len(requests)),
        "--ui-type", "none", "--export-level", "summary", "--output-artifact-dir", str(work),
        "--no-gpu-telemetry", "--no-server-metrics",
    ]  # fmt: skip
    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    with server.awake():
        done = subprocess.run(
            command,
            env=os.environ | offline,
            capture_output=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"aiperf ended with status {done.returncode}: {work}/logs says why")
    return figures(json.loads((work / "profile_export_aiperf.json").read_text()), requests)


def figures(exported: dict[str, dict[str, float]], requests: Sequence[Request]) -> dict[str, float]:
    """What of its export the table shows."""
    latency = exported["request_latency"]
    passages = sum(len(request.passages) for request in requests) / len(requests)
    return {
        "requests": exported["request_count"]["avg"],
        "passages_per_second": round(exported["request_throughput"]["avg"] * passages, 2),
        **{f"p{p}_ms": round(latency[f"p{p}"], 1) for p in (50, 95, 99)},
    }


def _line(request: Request) -> str:
    texts = [
        {"name": "query", "contents": [request.query]},
        {"name": "passages", "contents": request.passages},
    ]
    return json.dumps({"texts": texts})


def _cache(work: Path, checkpoint: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    model = work / "home" / "hub" / f"models--{MODEL_NAME.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(_REVISION)
    snapshot = model / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint / name, snapshot / name)
    return work / "home"
