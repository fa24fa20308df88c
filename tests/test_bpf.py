"""Filters as byte code."""

import pytest

from shaper.errors import ShaperError, UsageError
from shaper.live.rules import bpf
from shaper.live.rules.bpf import bytecode


def test_a_filter_becomes_what_iptables_takes() -> None:
    count, *instructions = bytecode("tcp port 8765").split(",")
    assert int(count) == len(instructions)
    assert any(instruction.endswith(" 8765") for instruction in instructions)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("tcp prt 80", "syntax error"),
        ("ether host 00:11:22:33:44:55", "ethernet addresses supported only on"),
        ("arp", "expression rejects all packets"),
        ("vlan 3", "no VLAN support"),
        ("-w /tmp/file", "syntax error"),
        (" or ".join(f"port {port}" for port in range(100, 2000, 100)), "instructions, the kernel takes 64"),
    ],
)
def test_a_filter_that_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(UsageError) as error:
        bytecode(expression)
    assert str(error.value).startswith(f"filter '{expression}': ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_no_tcpdump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "find", lambda name: None)
    with pytest.raises(ShaperError, match=r"^--filter needs tcpdump to translate the expression: apt install tcpdump$"):
        bytecode("tcp")
