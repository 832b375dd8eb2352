"""`crossrank build`: compile a checkpoint into a TensorRT plan, with a progress bar."""

import argparse
import sys
from pathlib import Path

from app.commands.progress import Bar
from app.settings import Settings
from engine.config import BuildRequest


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command's options; what is left out is decided from what is there."""
    parser = commands.add_parser("build", help="compile a checkpoint into a TensorRT plan")
    parser.add_argument("--checkpoint", help="a folder or hub id; else CROSSRANK_CHECKPOINT")
    parser.add_argument("--output", type=Path, help="the plan's folder; else the cache")
    parser.add_argument("--runtime", choices=("tensorrt", "tensorrt-rtx"))
    parser.add_argument(
        "--compute-capability",
        metavar="8.9",
        help="build for a GPU that is not here (tensorrt-rtx only)",
    )
    parser.add_argument("--dtype", choices=("auto", "bf16", "fp16", "fp8"), default="auto")
    parser.add_argument(
        "--calibration",
        type=Path,
        help='text for fp8: lines of {"query": ..., "passages": [...]}; needed once',
    )
    parser.add_argument(
        "--profiles",
        metavar="4x8192,256x128",
        help="attention boxes of rows x width; else chosen from the GPU's memory",
    )


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Build, and print the plan's folder. Raises StartError. Returns the exit status."""
    from engine.backends.tensorrt import plans  # noqa: PLC0415 - it loads torch

    settings = settings.for_checkpoint(arguments.checkpoint)
    request = BuildRequest(
        output=arguments.output,
        runtime=arguments.runtime,
        compute_capability=arguments.compute_capability,
        dtype=arguments.dtype,
        profiles=arguments.profiles,
        calibration=arguments.calibration,
    )
    bar = Bar(sys.stderr, "building")
    try:
        folder = plans.make(settings.engine(), request, bar.tell)
    except KeyboardInterrupt:
        bar.end()
        sys.stderr.write("crossrank: interrupted, no plan was written\n")
        return 130
    bar.end()
    sys.stdout.write(f"{folder}\n")
    return 0
