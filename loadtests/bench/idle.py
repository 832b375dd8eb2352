"""What a server burns while nobody asks it anything: it would be taken from the one measured."""

import threading

from loadtests.bench.servers import Server

_SECONDS = 2.0


def cpus(server: Server) -> float:
    """CPU seconds a second, of a server that is awake and idle."""
    with server.awake():
        before = server.cpu_seconds()
        threading.Event().wait(_SECONDS)
        return round((server.cpu_seconds() - before) / _SECONDS, 4)
