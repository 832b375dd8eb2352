"""`crossrank calibrate`: FP8 scales from text at hand, kept beside the checkpoint."""

import argparse
import sys
from pathlib import Path

from app.settings import Settings


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command's options."""
    parser = commands.add_parser("calibrate", help="make the scales that fp8 needs, once")
    parser.add_argument("--checkpoint", help="a folder or hub id; else CROSSRANK_CHECKPOINT")
    parser.add_argument(
        "text", type=Path, metavar="FILE", help='lines of {"query": ..., "passages": [...]}'
    )


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Calibrate, and print where the scales are. Raises StartError. Returns the exit status."""
    from engine import checkpoint as checkpoints  # noqa: PLC0415 - it loads the tokenizer
    from engine.quantization import calibration  # noqa: PLC0415 - it loads torch

    path = calibration.run(
        checkpoints.load(settings.for_checkpoint(arguments.checkpoint).engine()), arguments.text
    )
    sys.stdout.write(f"{path}\n")
    return 0
