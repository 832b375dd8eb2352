"""Every backend on a seeded random 1B: agreement with float32, and speed beside the GEMM rate.

On a machine with an NVIDIA GPU: python -m loadtests.gpu
Anywhere, with a tiny shape, to see that it runs: python -m loadtests.gpu --dry
A backend that cannot run here is skipped with its reason.
"""

import argparse
import json
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import checkpoint as checkpoints
from engine.config import EngineConfig
from engine.quantization.agreement import kendall_tau
from engine.types import Batch, Checkpoint, Logits, Pair
from loadtests import nemotron
from loadtests.candidates import CANDIDATES, Candidate, Skipped, reference
from loadtests.clock import gemm_rate, rate, seconds

TINY: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 1024,
}
_PASSAGES_MIXED = 512
_MEDIAN_TOKENS, _SPREAD = 270, 0.6  # log-normal lengths, as chunked documents have


def main() -> None:
    """Measure, print a table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="a tiny shape and few tokens")
    parser.add_argument("--checkpoint", type=Path, help="else one of random weights is made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=16384, help="tokens in a measured batch")
    parser.add_argument("--out", type=Path, help="folder to keep table and figures in")
    arguments = parser.parse_args()
    lengths = (16, 64) if arguments.dry else (128, 512, 2048, 8192)
    tokens = 128 if arguments.dry else arguments.tokens
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.checkpoint or nemotron.write(
            Path(scratch) / "1b", arguments.seed, **(TINY if arguments.dry else {})
        )
        checkpoint = checkpoints.load(EngineConfig(checkpoint=str(folder)))
        gemm = gemm_rate(256 if arguments.dry else 8192)
        results = list(measured(checkpoint, lengths, tokens, gemm, arguments.dry))
    text = "\n".join([heading(gemm), "", table(results, lengths), *targets(results)])
    content = json.dumps({"machine": machine(), "gemm_flops": round(gemm), "results": results})
    if arguments.out:
        keep(arguments.out, text, content)
    print(text)
    print(content)


def measured(
    checkpoint: Checkpoint, lengths: Sequence[int], tokens: int, gemm: float, dry: bool
) -> Iterator[dict[str, Any]]:
    """One result a candidate. gemm: FLOP/s of this machine's matrix products."""
    probe = random_batch(checkpoint, [n for n in (5, 17, 64, 33, 90) for _ in range(4)])
    expected = reference(checkpoint, probe)
    mixed = mixed_lengths(tokens if dry else None)
    for candidate in CANDIDATES:
        result: dict[str, Any] = {"backend": candidate.name}
        try:
            with candidate.opened(checkpoint) as score:
                result |= agreement(expected, score(probe))
                for length in lengths:
                    batch = random_batch(checkpoint, [length] * max(1, tokens // length))
                    result[f"S={length}"] = speed(checkpoint, candidate, score, [batch], gemm)
                batches = packed(checkpoint, mixed, tokens)
                result["mixed"] = speed(checkpoint, candidate, score, batches, gemm)
                long = 32 if dry else 512
                for rows in (1, 4) if dry else (1, 8, 40):
                    batch = random_batch(checkpoint, [long] * rows)
                    median = seconds(partial(score, batch))
                    result[f"ms {rows}x{long}"] = round(1000 * median, 2)
                result["peak MiB"] = candidate.peak_mib()
        except Skipped as reason:
            result["skipped"] = str(reason)
        except Exception as error:  # one that fails leaves the others their table
            traceback.print_exc()
            result["skipped"] = f"it failed: {type(error).__name__}: {str(error).splitlines()[0]}"
        print(json.dumps(result), file=sys.stderr, flush=True)
        yield result


def agreement(expected: Logits, found: Logits) -> dict[str, float]:
    """Largest error relative to the spread of the scores, and Kendall's tau."""
    error = float(np.abs(found - expected).max() / expected.std())
    return {"error": round(error, 5), "tau": round(kendall_tau(expected, found), 4)}


def speed(
    checkpoint: Checkpoint, candidate: Candidate, score: Any, batches: Sequence[Batch], gemm: float
) -> dict[str, float]:
    """tokens and passages a second, and the share of the GEMM rate of the same run."""
    lengths = [n for batch in batches for n in batch.lengths]
    per_second = rate(lambda: [score(batch) for batch in batches])
    flops = sum(forward_flops(checkpoint, n) for n in lengths)
    return {
        "tokens/s": round(sum(lengths) * per_second),
        "passages/s": round(len(lengths) * per_second, 1),
        "share": round(flops * per_second / gemm, 3),
    }


def forward_flops(checkpoint: Checkpoint, length: int) -> float:
    """Of one pair: two for each weight of the layers and token, and attention's two products."""
    config: Any = checkpoint.config
    width = config.heads * config.head_dim
    attention = config.hidden_size * (2 * width + 2 * config.kv_heads * config.head_dim)
    weights = config.layers * (attention + 3 * config.hidden_size * config.intermediate_size)
    return float(length * (2 * weights + 4 * width * config.layers * length))


def random_batch(checkpoint: Checkpoint, lengths: Sequence[int], seed: int = 1) -> Batch:
    """Pairs of random ids, shortest first, as the schedule sorts them."""
    random = np.random.default_rng(seed)
    size = checkpoint.config.vocab_size
    return Batch.pack(
        [Pair(random.integers(0, size, n, dtype=np.int32), split=n) for n in sorted(lengths)]
    )


def mixed_lengths(most: int | None) -> list[int]:
    """Log-normal lengths; few and short ones for a dry run."""
    random = np.random.default_rng(2)
    drawn = random.lognormal(np.log(_MEDIAN_TOKENS), _SPREAD, _PASSAGES_MIXED)
    lengths = [int(n) for n in drawn.clip(16, 8192)]
    return lengths if most is None else [max(1, n // 8) for n in lengths[:8]]


def packed(checkpoint: Checkpoint, lengths: Sequence[int], tokens: int) -> list[Batch]:
    """Batches of at most `tokens`, similar lengths together."""
    groups: list[list[int]] = [[]]
    for length in sorted(lengths):
        if sum(groups[-1]) + length > tokens and groups[-1]:
            groups.append([])
        groups[-1].append(length)
    return [random_batch(checkpoint, group) for group in groups]


def table(results: Sequence[dict[str, Any]], lengths: Sequence[int]) -> str:
    """Markdown: a row for each backend that ran, a line for each that did not."""
    columns = [*(f"S={length}" for length in lengths), "mixed"]
    ran = [result for result in results if "skipped" not in result]
    latencies = [name for name in (ran[0] if ran else {}) if name.startswith("ms ")]
    head = ["backend", "error", "tau", *(f"{c} tokens/s (GEMM share)" for c in columns),
            *latencies, "peak MiB"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for result in ran:
        cells = [result["backend"], result["error"], result["tau"]]
        cells += [f"{result[c]['tokens/s']} ({result[c]['share']:.0%})" for c in columns]
        cells += [result[name] for name in [*latencies, "peak MiB"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    skipped = [f"{r['backend']}: skipped, {r['skipped']}" for r in results if "skipped" in r]
    return "\n".join([*lines, "", *skipped])


def targets(results: Sequence[dict[str, Any]]) -> list[str]:
    """What this project asks of itself on an H100, and whether it is so here."""
    ran = {result["backend"]: result for result in results if "skipped" not in result}
    if "S=512" not in (torch_ := ran.get("torch", {})):
        return []
    asked = [
        ("torch, share of the GEMM rate at S=512", torch_["S=512"]["share"], 0.6),
        ("torch, share of the GEMM rate at S=2048", torch_["S=2048"]["share"], 0.5),
        ("torch, mixed lengths over S=512, tokens/s", _over(torch_, "mixed", torch_, "S=512"), 0.9),
    ]
    for name, other, column, least in (
        ("torch", "sentence-transformers", "mixed", 2.0),
        ("tensorrt", "torch", "S=512", 1.0),
        ("torch fp8", "torch", "S=512", 1.5),
        ("tensorrt fp8", "tensorrt", "S=512", 1.5),
    ):
        if name in ran and other in ran:
            ratio = _over(ran[name], column, ran[other], column)
            asked.append((f"{name} over {other}, {column}, tokens/s", ratio, least))
    return ["", *(f"- {what}: {found:.2f}, asked {least}" for what, found, least in asked)]


def _over(a: dict[str, Any], column: str, b: dict[str, Any], other: str) -> float:
    return float(a[column]["tokens/s"] / b[other]["tokens/s"])


def heading(gemm: float) -> str:
    """What this ran on, and what its matrix products do."""
    return f"{machine()}; matrix products alone: {gemm / 1e12:.3g} TFLOP/s"


def keep(folder: Path, text: str, content: str) -> None:
    """As gpu-NAME.md and gpu-NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", machine().partition(",")[0].lower()).strip("-")
    (folder / f"gpu-{name}.md").write_text(text + "\n")
    (folder / f"gpu-{name}.json").write_text(content + "\n")


def machine() -> str:
    """What this ran on."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, torch {torch.__version__}"


if __name__ == "__main__":
    main()
