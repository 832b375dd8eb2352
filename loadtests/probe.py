"""A process of its own that asks for health 20 times a second, and for the metrics twice.

Separate, so that a busy load generator does not make the server look slow. Prints JSON lines;
ends when its standard input does. Run by loadtests/run.py: python -m loadtests.probe URL
"""

import json
import select
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

_EVERY_SECONDS = 0.05
_METRICS_EVERY = 10  # rounds


def main() -> None:
    """Ask until standard input ends, or the server does."""
    url = sys.argv[1]
    for turn, path in enumerate(_paths()):
        due = time.monotonic() + _EVERY_SECONDS
        if select.select([sys.stdin], [], [], _EVERY_SECONDS)[0]:
            return
        late = time.monotonic() - due  # the machine's own delay: no server is involved
        try:
            print(json.dumps({"late": late, **health(url + path)}), flush=True)
            if turn % _METRICS_EVERY == 0:
                print(json.dumps({"at": time.monotonic(), "metrics": scrape(url)}), flush=True)
        except OSError:
            return


def _paths() -> Iterator[str]:
    while True:
        yield "/v1/health/live"
        yield "/v1/health/ready"


def health(url: str) -> dict[str, float]:
    """Seconds on a new connection, as a kubelet asks."""
    start = time.monotonic()
    try:
        with urllib.request.urlopen(url) as answer:
            answer.read()
            code = answer.status
    except urllib.error.HTTPError as error:
        code = error.code
    return {"at": start, "seconds": time.monotonic() - start, "code": code}


def scrape(url: str) -> dict[str, float]:
    """Every sample of our own metrics and of the process, by its name and labels."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    kept = ("crossrank_", "process_resident", "process_cpu", "nv_inference_pending")
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
        if name.startswith(kept) and "_bucket" not in name
    }


if __name__ == "__main__":
    main()
