"""Ports: numbers, names and lists of them, as options and in profiles."""

import socket

import pytest

from shaper.cli.shaping import ports_of
from shaper.errors import UsageError
from shaper.spec.match import parse_ports
from shaper.spec.profiles import read

PORTS = {"80": [80], "80,443": [80, 443], "http": [80], " https, 8080": [443, 8080], "domain,domain": [53, 53]}
SERVICES = {"http": 80, "https": 443, "domain": 53}


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of services, as in a machine's /etc/services."""

    def find(name: str) -> int:
        if name not in SERVICES:
            raise OSError("service/proto not found")
        return SERVICES[name]

    monkeypatch.setattr(socket, "getservbyname", find)


@pytest.mark.parametrize("text", PORTS)
def test_a_list_of_ports(text: str) -> None:
    assert parse_ports(text) == PORTS[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "0 is not a port; ports are 1 to 65535"),
        ("70000", "70000 is not a port; ports are 1 to 65535"),
        ("nothing", "'nothing' is not a port; write a number, such as 80, or a name of /etc/services"),
        ("80-90", "'80-90' is not a port"),
        ("80,,90", "'' is not a port"),
        ("-1", "'-1' is not a port"),
    ],
)
def test_not_a_port(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        ports_of(["80", text])
    assert str(error.value).startswith(f"--port: {message}")


def test_all_ports_of_a_command_line() -> None:
    assert ports_of(None) == ()
    assert ports_of(["80,443", "http", "53"]) == (80, 443, 53)


@pytest.mark.parametrize("value", ['"http,8080"', '["http", 8080]', '["80", "8080"]', "[80, 8080]"])
def test_ports_in_a_profile(value: str) -> None:
    profile = read(f'pipeline = ["delay:20ms | loss:1%"]\n[match]\nport = {value}\n', "t.toml")
    assert profile.match["port"] == [80, 8080]
    assert profile.expression() == "(port 80 or port 8080)"
