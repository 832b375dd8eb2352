"""The `crossrank` command."""

import argparse
import logging
import os
import sys
import threading

from app import logs
from app import settings as configuration
from app.operations import VERSION
from app.server import serve
from engine.errors import StartError


def main() -> int:
    """Parse the command line and run. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="crossrank", description="An open reranking microservice.",
        epilog="Settings are environment variables: see the README's table.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"crossrank {VERSION}")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve the model over HTTP (what happens without a command)")
    parser.parse_args()
    try:
        settings = configuration.load()
        logs.configure(settings.log_level, settings.log_format)
        return _left(serve(settings))
    except StartError as error:
        sys.stderr.write(f"crossrank: {error}\n")
        return 2


def _left(status: int) -> int:
    """Leave at once if a device thread is stuck: Python cannot tear itself down around one."""
    if any(thread.name == "device" for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
