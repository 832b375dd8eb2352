"""Measures crossrank and its peers side by side, and writes the table, bench.json and the plots.

make bench, or python -m loadtests.bench [--quick] [--note TEXT] once `make bench` has installed
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from loadtests.bench import checkpoint, mixes, report, servers, summary
from loadtests.bench.ceiling import BareModel
from loadtests.bench.plan import FULL, QUICK
from loadtests.bench.run import Bench

RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    """Make the checkpoint, start the servers, measure, write."""
    arguments = _arguments()
    # the servers are suspended most of the time: left behind, they would never end
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begun = time.monotonic()
    folder = checkpoint.write(arguments.work / "checkpoint")
    drawer = mixes.Drawer(Tokenizer.from_file(str(folder / "tokenizer.json")))
    plan = QUICK if arguments.quick else FULL
    bare = BareModel(folder)
    with servers.running(folder, arguments.infinity, arguments.peers) as running:
        bench = Bench(plan, running, bare, drawer)
        measured = bench.run(arguments.peers.with_name("aiperf"), folder)
    bare.close()
    content: dict[str, Any] = {
        "machine": report.machine(arguments.note, "quick run" if arguments.quick else ""),
        "command": "python -m loadtests.bench" + (" --quick" if arguments.quick else ""),
        "seconds": round(time.monotonic() - begun),
        "text": drawer.text.digest,
        "mixes": {mix.name: mix.says for mix in mixes.MIXES},
        "infinity_options": servers.INFINITY_OPTIONS,
        **measured,
    }
    content["targets"] = [target.line() for target in summary.targets(content)]
    print(report.text(content))
    _write(arguments.out, content)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, to see that it runs")
    parser.add_argument("--note", default="", help="about the machine, for the report")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="scratch folder")
    for name in ("infinity", "peers"):
        python = Path(f".venv-{name}/bin/python")
        parser.add_argument(f"--{name}", type=Path, default=python, help="its environment's Python")
    arguments = parser.parse_args()
    for python in (arguments.infinity, arguments.peers):
        if not python.exists():
            parser.error(f"{python} is missing: `make bench` installs the peers")
    return arguments


def _write(folder: Path, content: dict[str, Any]) -> None:
    from loadtests.bench import plots  # noqa: PLC0415 - matplotlib is slow to import

    folder.mkdir(exist_ok=True, parents=True)
    (folder / "bench.json").write_text(json.dumps(content, indent=1) + "\n")
    plots.draw(content, folder)


if __name__ == "__main__":
    main()
