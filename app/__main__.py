"""The `crossrank` command, and the names of its parts that NIM's charts call by themselves."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from app import logs
from app import settings as configuration
from app.commands import build, cache, calibrate, evaluate, show
from app.commands.rank import Ask, rank
from app.operations import VERSION
from app.server import serve
from engine.errors import CrossrankError

log = logging.getLogger("crossrank")

# Those that read their options themselves.
_COMMANDS = {"build": build.run, "calibrate": calibrate.run, "eval": evaluate.run}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run. Returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        settings = configuration.load()
        logs.configure(settings.log_level, settings.log_format)
        if names := configuration.ignored():
            log.info("these names mean nothing here and are ignored: %s", ", ".join(names))
        if names := configuration.linked():
            log.info("Kubernetes' service links, not settings, are ignored: %s", ", ".join(names))
        command = _COMMANDS.get(given.command)
        return command(settings, given) if command else _run(given, settings)
    except CrossrankError as error:
        sys.stderr.write(f"crossrank: {error}\n")
        return 2


def download_to_cache() -> int:
    """The container command of that name."""
    return main(["download-to-cache", *sys.argv[1:]])


def list_model_profiles() -> int:
    """The container command of that name."""
    return main(["list-model-profiles", *sys.argv[1:]])


def create_model_store() -> int:
    """The container command of that name."""
    return main(["create-model-store", *sys.argv[1:]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crossrank", description="An open reranking microservice.",
        epilog="Settings are environment variables: crossrank show-config names them all.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"crossrank {VERSION}")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve the model over HTTP (what happens without a command)")
    ranking = commands.add_parser("rank", help="rank passages from a file, without a server")
    ranking.add_argument("--query", required=True)
    ranking.add_argument("--passages", required=True, metavar="FILE|-", help="text or JSON lines")
    ranking.add_argument("--top-n", type=_positive, metavar="N", help="print the best N only")
    ranking.add_argument("--json", action="store_true", help="print JSON instead of a table")
    ranking.add_argument("--refuse-long", action="store_true", help="refuse what would be cut")
    build.add_parser(commands)
    calibrate.add_parser(commands)
    evaluate.add_parser(commands)
    commands.add_parser("show-config", help="show every setting and its value")
    commands.add_parser("list-model-profiles", help="say which model would be served")
    download = commands.add_parser("download-to-cache", help="fetch and verify the model")
    store = commands.add_parser("create-model-store", help="write the model's files to a folder")
    store.add_argument("--model-repo", metavar="ID", help="a hub id or folder")
    store.add_argument("--model-store", required=True, type=Path, metavar="FOLDER")
    for command in (download, store):
        # Profiles are NIM's; there is one here.
        command.add_argument("-p", "--profile", "--profiles", nargs="*", help="ignored")
        command.add_argument("--all", action="store_true", help="ignored")
    return parser


def _run(given: argparse.Namespace, settings: configuration.Settings) -> int:
    serving = given.command in (None, "serve")
    if given.command == "show-config" or (serving and settings.show_config):
        return show.config(settings)
    if given.command == "download-to-cache" or (serving and settings.download_only):
        return cache.download(settings)
    if given.command == "list-model-profiles":
        return cache.list_model_profiles(settings)
    if given.command == "create-model-store":
        return cache.create_model_store(settings, given.model_repo, given.model_store)
    if given.command == "rank":
        ask = Ask(given.query, given.passages, given.top_n, given.json, given.refuse_long)
        return rank(settings, ask)
    return serve(settings)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
