"""Runs the load scenarios against real servers on loopback; exits 1 if a promise is broken.

python -m loadtests [--only NAME] [--checkpoint FOLDER] [--soak-passages N] [--note TEXT]
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import locust  # noqa: F401 - first of all, since it patches the sockets

from app.settings import SHIPPED_CHECKPOINT
from loadtests import report
from loadtests.run import run
from loadtests.scenarios import scenarios

# it complains of callers that stop themselves; exceptions in callers have another logger
logging.getLogger("locust.runners").setLevel(logging.CRITICAL)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run, print the table, write results/load.json and results/load.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="scenarios whose name holds this text")
    parser.add_argument("--checkpoint", default=str(SHIPPED_CHECKPOINT), help="folder or hub id")
    parser.add_argument("--soak-passages", type=int, default=150_000)
    parser.add_argument("--note", default="", help="about the machine, for the report")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    arguments = parser.parse_args()
    rows, curves = [], {}
    for scenario in scenarios(arguments.soak_passages):
        if arguments.only not in scenario.name:
            continue
        print(f"{scenario.name} ...", file=sys.stderr, flush=True)
        done = run(scenario, arguments.checkpoint)
        rows.append(report.row(done))
        curves[scenario.name] = report.curves(done)
        for problem in rows[-1]["problems"]:
            print(f"  BROKEN: {problem}", file=sys.stderr, flush=True)
    print(report.table(rows))
    _write(arguments.out, {
        "hardware": report.hardware(arguments.note),
        "checkpoint": Path(arguments.checkpoint).name,
        "rows": rows,
        "curves": curves,
    })  # fmt: skip
    return int(any(line["problems"] for line in rows))


def _write(folder: Path, content: dict[str, object]) -> None:
    from loadtests import chart  # noqa: PLC0415 - matplotlib is slow to import

    folder.mkdir(exist_ok=True, parents=True)
    (folder / "load.json").write_text(json.dumps(content, indent=1) + "\n")
    chart.draw(content, folder / "load.png")


if __name__ == "__main__":
    sys.exit(main())
