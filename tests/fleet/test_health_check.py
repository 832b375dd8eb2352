"""The image's HEALTHCHECK says what the service says, wherever its port was moved to."""

import subprocess
from pathlib import Path

import pytest

from loadtests.process import crossrank, url_when_ready
from loadtests.scale import free_ports
from tests.fleet.tools import tool

pytestmark = pytest.mark.fleet

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "healthcheck.sh"


def healthy(**environment: str) -> bool:
    """Whether the script says so, with these variables and no others."""
    path = str(Path(tool("curl", "Debian's curl")).parent)
    done = subprocess.run(
        [SCRIPT], env={"PATH": f"{path}:/bin:/usr/bin", **environment}, check=False
    )
    return done.returncode == 0


def test_it_is_well_when_the_service_is_ready_and_never_without_one(bert_folder: Path) -> None:
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder)) as process:
        port = url_when_ready(process).rpartition(":")[2]
        assert healthy(CROSSRANK_PORT=port)
        assert healthy(NIM_HTTP_API_PORT=port)
        assert healthy(CROSSRANK_PORT="tcp://10.0.0.1:1", NIM_HTTP_API_PORT=port)
        assert healthy(NIM_SERVER_PORT=port, NIM_HTTP_API_PORT="1")
        assert healthy(NIM_SERVER_BIND_ADDR=f"0.0.0.0:{port}", NIM_SERVER_PORT="1")
        assert not healthy(CROSSRANK_PORT=port, CROSSRANK_TLS_CERT="/cert.pem")
    (nobody,) = free_ports(1)
    assert not healthy(CROSSRANK_PORT=str(nobody))
