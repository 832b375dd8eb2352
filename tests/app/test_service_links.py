"""What Kubernetes puts into pods beside a Service of our name stops nobody from starting."""

import os
from unittest.mock import patch

import pytest

from app import service_links, settings
from engine.errors import StartError
from loadtests.process import crossrank

# What the kubelet sets for a Service "crossrank" with a port "http", and for "crossrank-metrics".
LINKS = {
    "CROSSRANK_SERVICE_HOST": "10.0.0.1",
    "CROSSRANK_SERVICE_PORT": "8000",
    "CROSSRANK_SERVICE_PORT_HTTP": "8000",
    "CROSSRANK_PORT": "tcp://10.0.0.1:8000",
    "CROSSRANK_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "CROSSRANK_PORT_8000_TCP_PROTO": "tcp",
    "CROSSRANK_PORT_8000_TCP_PORT": "8000",
    "CROSSRANK_PORT_8000_TCP_ADDR": "10.0.0.1",
    "CROSSRANK_METRICS_SERVICE_HOST": "10.0.0.2",
    "CROSSRANK_METRICS_PORT": "tcp://[fd00::2]:9000",
}


def load(environment: dict[str, str]) -> settings.Settings:
    with patch.dict(os.environ, environment, clear=True):
        return settings.load()


@pytest.mark.parametrize("name", LINKS)
def test_each_link_is_ignored_by_itself(name: str) -> None:
    link = {name: LINKS[name]}
    assert load(link) == load({})
    assert service_links.found(link) == [name]


def test_all_links_together_leave_every_setting_as_it_was() -> None:
    assert load(LINKS) == load({})
    assert service_links.found(LINKS) == sorted(LINKS)


def test_a_port_that_is_a_number_is_a_setting_among_links() -> None:
    given = LINKS | {"CROSSRANK_PORT": "9000", "CROSSRANK_METRICS_PORT": "9001"}
    loaded = load(given)
    assert (loaded.port, loaded.metrics_port) == (9000, 9001)
    assert not {"CROSSRANK_PORT", "CROSSRANK_METRICS_PORT"} & set(service_links.found(given))


def test_a_link_does_not_hide_nim_s_name_for_the_port() -> None:
    assert load(LINKS | {"NIM_HTTP_API_PORT": "9000"}).port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROSSRANK_PORT", "http://10.0.0.1:8000"),
        ("CROSSRANK_PORT", "tcp://"),
        ("CROSSRANK_PORT_8000", "8000"),
        ("CROSSRANK_SERVICE_NAME", "x"),
        ("CROSSRANK_SERVICES_PORT", "8000"),
        ("CROSSRANK_CHECKPOINT_8000_TCP", "tcp://10.0.0.1:8000"),
    ],
)
def test_what_only_resembles_a_link_is_refused(name: str, value: str) -> None:
    with pytest.raises(StartError, match=f"^{name}"):
        load(LINKS | {name: value})


def test_no_setting_s_name_is_a_link() -> None:
    values = {settings.variable(field): "8000" for field in settings.Settings.model_fields}
    assert service_links.found(values) == []


def test_the_log_says_once_which_names_are_links() -> None:
    with crossrank(**LINKS, CROSSRANK_SHOW_CONFIG="1") as process:
        _, log = process.communicate()
    assert process.returncode == 0
    said = [line for line in log.splitlines() if "service links" in line]
    assert len(said) == 1
    assert all(name in said[0] for name in LINKS)
