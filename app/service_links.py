"""Kubernetes' service links: variables of every pod beside a Service `crossrank` or `crossrank-…`.

They are named like settings, and are none; a setting of the same name is told apart by its value.
"""

import re
from collections.abc import Mapping

_SERVICE = r"CROSSRANK(_[A-Z0-9_]+)?_"
_PORT = r"PORT_\d+_(TCP|UDP|SCTP)"
_NAMES = re.compile(
    rf"{_SERVICE}(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|{_PORT}_(PROTO|PORT|ADDR))"
)
# CROSSRANK_PORT=tcp://10.0.0.1:8000, and CROSSRANK_PORT_8000_TCP likewise: name and value
_ADDRESSES = re.compile(rf"{_SERVICE}(PORT|{_PORT})=(tcp|udp|sctp)://\S+")


def found(environment: Mapping[str, str]) -> list[str]:
    """The names of the service links in an environment, sorted."""
    return sorted(
        name
        for name, value in environment.items()
        if _NAMES.fullmatch(name) or _ADDRESSES.fullmatch(f"{name}={value}")
    )
