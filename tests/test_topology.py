"""The ends of networks: names, addresses, commands, published ports, name servers."""

import pytest

from shaper.errors import UsageError
from shaper.topology.ends import (
    OUTSIDE,
    CommandAt,
    Kind,
    by_role,
    commands_at,
    ends_of,
    hosts,
    name_servers,
    published,
    variables,
)

DNS = ("198.19.0.3", "2001:2::3")


def test_the_ends_of_each_network() -> None:
    assert ends_of("private") == ()
    assert [end.name for end in ends_of("internet")] == [OUTSIDE, "client"]
    assert [end.name for end in ends_of("routed")] == ["server", "client"]
    assert [end.name for end in ends_of("dumbbell", 3)] == ["server", "client", "client2", "client3"]


def test_addresses_differ_and_are_in_a_network_with_the_router() -> None:
    ends = ends_of("dumbbell", 200)
    assert len({end.ipv4 for end in ends} | {end.ipv6 for end in ends}) == 2 * len(ends)
    assert (ends[1].ipv4, ends[1].ipv6, ends[1].routers) == (
        "198.19.2.2", "2001:2:0:2::2", ("198.19.2.1", "2001:2:0:2::1"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "clients", "line"),
    [
        ("routed", 2, "--clients needs --network dumbbell"),
        ("dumbbell", 0, "--clients: give a number from 1 to 200"),
        ("dumbbell", 201, "--clients: give a number from 1 to 200"),
    ],
)
def test_a_wrong_number_of_clients(kind: Kind, clients: int, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        ends_of(kind, clients)


def test_what_commands_find_in_their_environment() -> None:
    ends = ends_of("routed")
    assert variables(ends, has_ipv6=True) == {
        "SHAPER_SERVER": "198.19.1.2",
        "SHAPER_SERVER_IPV6": "2001:2:0:1::2",
        "SHAPER_CLIENT": "198.19.2.2",
        "SHAPER_CLIENT_IPV6": "2001:2:0:2::2",
    }
    assert list(variables(ends, has_ipv6=False)) == ["SHAPER_SERVER", "SHAPER_CLIENT"]


def test_names_come_before_those_that_were_there() -> None:
    known = "127.0.0.1 localhost\n"
    assert hosts([("198.19.1.2", "server")], known) == f"198.19.1.2\tserver\n{known}"


def test_commands_with_their_ends() -> None:
    routed, dumbbell = ends_of("routed"), ends_of("dumbbell", 2)
    assert commands_at(["ls", "-l"], None, ()) == (CommandAt("client", ("ls", "-l")),)
    assert commands_at(["ls"], None, routed) == (CommandAt("client", ("ls",)),)
    words = ["nc", "-l", "80", "--at", "client2", "--", "nc", "--at", "x", "--at", "client", "--", "a"]
    assert commands_at(words, "server", dumbbell) == (
        CommandAt("server", ("nc", "-l", "80")),
        CommandAt("client2", ("nc", "--at", "x")),
        CommandAt("client", ("a",)),
    )


@pytest.mark.parametrize(
    ("words", "at", "kind", "line"),
    [
        (["ls"], "server", "private", "--at needs --network routed or dumbbell"),
        (["ls"], "client", "internet", "--at needs --network routed or dumbbell"),
        (["ls"], "router", "routed", "there is no 'router' in this network; there are server, client"),
        (["--at", "client", "--", "ls"], "server", "routed", "Missing argument 'COMMAND' for --at server"),
    ],
)
def test_commands_at_no_end(words: list[str], at: str, kind: Kind, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        commands_at(words, at, ends_of(kind))


def test_the_clients_decide_how_long_it_takes_else_the_last_command() -> None:
    one, two, server, other = (CommandAt(end, ("ls",)) for end in ("client", "client2", "server", "server"))
    assert by_role([one, server, two]) == ([server], [one, two])
    assert by_role([server, other]) == ([server], [other])
    assert by_role([server]) == ([], [server])


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("8080:80", ("tcp", 8080, 80)), ("80", ("tcp", 80, 80)), ("53:5353/udp", ("udp", 53, 5353))],
)
def test_published_ports(text: str, meaning: tuple[str, int, int]) -> None:
    assert published(text) == meaning


@pytest.mark.parametrize("text", ["", "x", "80:", "0:80", "80:70000", "80/sctp", "1:2:3"])
def test_what_is_no_published_port(text: str) -> None:
    with pytest.raises(UsageError, match="--publish"):
        published(text)


def test_name_servers_on_lo_are_replaced() -> None:
    text = "# local\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.7\nsearch example.org\n"
    assert name_servers(text, DNS) == (
        "# local\nnameserver 198.19.0.3\nnameserver 2001:2::3\nnameserver 192.0.2.7\nsearch example.org\n"
    )
    assert name_servers("nameserver 127.0.0.1\nnameserver 127.0.0.53\n", DNS) == "nameserver 198.19.0.3\n"
    assert name_servers("nameserver\nnameserver name\n", DNS) == "nameserver\nnameserver name\n"
