"""A tcpdump filter as byte code for the kernel's xt_bpf match, see iptables-extensions(8), "bpf"."""

import subprocess

from shaper.errors import ShaperError, UsageError
from shaper.linux.programs import find
from shaper.verbose import detail

# XT_BPF_MAX_NUM_INSTR, linux/netfilter/xt_bpf.h
MAX_INSTRUCTIONS = 64


# Loads of four, two and one bytes at a fixed offset. linux/bpf_common.h: BPF_LD | BPF_ABS with BPF_W, BPF_H, BPF_B.
LOADS = ("32", "40", "48")
IPV6_HEADER, FRAGMENT_HEADER, NEXT_HEADER = 40, 8, 6


def behind_fragment_header(code: str) -> str:
    """Byte code that matches an IPv6 packet's first fragment as `code` matches the packet before it is fragmented.

    Args:
        code: as `bytecode` returns it.
    """
    count, *instructions = code.split(",")
    shifted = []
    for instruction in instructions:
        operation, on_true, on_false, text = instruction.split()
        offset = int(text)
        if operation in LOADS and (offset == NEXT_HEADER or offset >= IPV6_HEADER):
            # The protocol is the fragment header's first byte; what follows the IP header lies behind it.
            offset = IPV6_HEADER if offset == NEXT_HEADER else offset + FRAGMENT_HEADER
        shifted.append(f"{operation} {on_true} {on_false} {offset}")
    return ",".join([count, *shifted])


def bytecode(expression: str) -> str:
    """What `iptables -m bpf --bytecode` takes for a tcpdump expression; the same for IPv4 and IPv6.

    Raises:
        UsageError: the expression is not valid, is about the link layer, or is too long.
        ShaperError: tcpdump is missing.
    """
    tcpdump = find("tcpdump")
    if tcpdump is None:
        raise ShaperError("--filter needs tcpdump to translate the expression: apt install tcpdump")
    # RAW: the match sees the packet from its IP header on.
    done = subprocess.run(
        [tcpdump, "-y", "RAW", "-ddd", "--", expression], capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1].removeprefix("tcpdump: ")
        raise UsageError(f"filter '{expression}': {reason} (packets are matched from their IP header on)")
    count, *instructions = done.stdout.splitlines()
    if int(count) > MAX_INSTRUCTIONS:
        raise UsageError(
            f"filter '{expression}': {count} instructions, the kernel takes {MAX_INSTRUCTIONS}; "
            "write ip or ip6 in it, or use --protocol, --port, --source, --destination for a part of it"
        )
    detail(f"filter '{expression}': {count} instructions, by {tcpdump}")
    return ",".join([count, *instructions])
