"""Filters as byte code."""

import pytest

from shaper.errors import ShaperError, UsageError
from shaper.live.rules import bpf
from shaper.live.rules.bpf import behind_fragment_header, bytecode


def test_a_filter_becomes_what_iptables_takes() -> None:
    count, *instructions = bytecode("tcp port 8765").split(",")
    assert int(count) == len(instructions)
    assert any(instruction.endswith(" 8765") for instruction in instructions)


def test_a_filter_of_first_fragments_looks_behind_their_fragment_header() -> None:
    # The version, the protocol (17) and the destination port (53): ldb [0]; ldb [6]; jeq #17; ldh [42]; jeq #53; ret.
    code = "7,48 0 0 0,48 0 0 6,21 0 3 17,40 0 0 42,21 0 1 53,6 0 0 262144,6 0 0 0"
    shifted = "7,48 0 0 0,48 0 0 40,21 0 3 17,40 0 0 50,21 0 1 53,6 0 0 262144,6 0 0 0"
    assert behind_fragment_header(code) == shifted


@pytest.mark.parametrize("expression", ["tcp prt 80", "ether host 00:11:22:33:44:55", "arp", "vlan 3", "-w /tmp/file"])
def test_a_filter_that_tcpdump_refuses(expression: str) -> None:
    # What follows are tcpdump's own words, in one line, which differ from version to version.
    with pytest.raises(UsageError, match=rf"^filter '{expression}': .+$"):
        bytecode(expression)


def test_a_filter_that_is_too_long_for_the_kernel() -> None:
    expression = " or ".join(f"port {port}" for port in range(100, 2000, 100))
    with pytest.raises(UsageError, match=rf"^filter '{expression}': .* instructions, the kernel takes 64; .+$"):
        bytecode(expression)


def test_no_tcpdump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "find", lambda name: None)
    with pytest.raises(ShaperError, match=r"^--filter needs tcpdump to translate the expression: apt install tcpdump$"):
        bytecode("tcp")
