"""The `crossrank` command."""

import argparse
import logging
import signal
import sys

import uvicorn

from app import settings as configuration
from app.main import create_app
from app.operations import VERSION
from app.telemetry import configure_logging
from engine.errors import StartError

log = logging.getLogger("crossrank")


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
        return serve(configuration.load())
    except StartError as error:
        sys.stderr.write(f"crossrank: {error}\n")
        return 2


def serve(settings: configuration.Settings) -> int:
    """Run the server until it is told to stop. Returns 1 if it could not do its work."""
    configure_logging(settings.log_level, settings.log_format)
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = server.should_exit = True

    config = uvicorn.Config(
        create_app(settings, on_fatal=fail),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal again once it has shut down; a clean stop exits with 0
        signal.signal(number, lambda *_: None)
    server.run()
    return int(failed or not server.started)


if __name__ == "__main__":
    sys.exit(main())
