"""Messages to and from the kernel's queue, as bytes: settings of a queue, verdicts on packets.

Source: linux/netfilter/nfnetlink.h and nfnetlink_queue.h. Headers are in the host's byte order, the values of
attributes in the network's.
"""

import errno
from struct import Struct

NFNL_SUBSYS_QUEUE = 3
VERDICT, CONFIG, VERDICT_BATCH = (NFNL_SUBSYS_QUEUE << 8 | kind for kind in (1, 2, 3))
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLMSG_ERROR = 2

NFQA_VERDICT_HDR, NFQA_PAYLOAD = 2, 10
NFQA_CFG_CMD, NFQA_CFG_PARAMS, NFQA_CFG_QUEUE_MAXLEN, NFQA_CFG_MASK, NFQA_CFG_FLAGS = 1, 2, 3, 4, 5
NFQNL_CFG_CMD_BIND, NFQNL_CFG_CMD_UNBIND, NFQNL_CFG_CMD_PF_BIND = 1, 2, 3
NFQNL_COPY_PACKET = 2
NF_DROP, NF_ACCEPT, NF_QUEUE = 0, 1, 3
QUEUE_BYPASS = 0x8000  # NF_VERDICT_FLAG_QUEUE_BYPASS, linux/netfilter.h

FAIL_OPEN, GSO = 1 << 0, 1 << 2
"""Flags of a queue: let packets pass when it is full; don't cut up segments that the interface would cut up."""

MAX_LENGTH = 0xFFFF
"""The most packets that the kernel holds in one queue, see NFQNL_QMAX_DEFAULT and its check."""
MAX_PAYLOAD = 0xFFFF - 4
"""The longest payload of one message: an attribute's length, its header included, has 16 bits."""

_header = Struct("=IHHII")  # length, type, flags, sequence, port
_family = Struct(">BBH")  # address family (any), version, queue number
ATTRIBUTE = Struct("=HH")  # length with this header, type
_verdict = Struct(">II")  # what, packet id
_command = Struct(">BBH")  # what, padding, protocol family (any)
_id = Struct(">I")
_code = Struct("=i")

HEADERS = _header.size + _family.size
"""Bytes of a message before its attributes."""


def _message(kind: int, queue: int, attributes: bytes, flags: int = 0) -> bytes:
    length = _header.size + _family.size + len(attributes)
    return _header.pack(length, kind, NLM_F_REQUEST | flags, 0, 0) + _family.pack(0, 0, queue) + attributes


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a message, padded to a multiple of four bytes."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _command_to(queue: int, command: int) -> bytes:
    return _message(CONFIG, queue, attribute(NFQA_CFG_CMD, _command.pack(command, 0, 0)))


def bind(queue: int) -> bytes:
    """The message: the queue belongs to this socket from now on."""
    return _command_to(queue, NFQNL_CFG_CMD_BIND)


def unbind(queue: int) -> bytes:
    """The message: the queue belongs to nobody any more; the kernel drops what is in it."""
    return _command_to(queue, NFQNL_CFG_CMD_UNBIND)


def ask() -> bytes:
    """A message that changes nothing: the kernel refuses it if it has no queues, or this process may not use them.

    libnetfilter_queue begins with it, too. Up to Linux 3.7 it bound a protocol family.
    """
    return _command_to(0, NFQNL_CFG_CMD_PF_BIND)


def max_length(queue: int, length: int) -> bytes:
    """The message: hold this many packets, `MAX_LENGTH` at most."""
    return _message(CONFIG, queue, attribute(NFQA_CFG_QUEUE_MAXLEN, _id.pack(length)))


def copy_mode(queue: int, copy_range: int) -> bytes:
    """The message: copy this many bytes of each packet, `MAX_PAYLOAD` at most."""
    params = Struct(">IB").pack(copy_range, NFQNL_COPY_PACKET)
    return _message(CONFIG, queue, attribute(NFQA_CFG_PARAMS, params))


def set_flags(queue: int, flags: int, mask: int) -> bytes:
    """The message: set those of the queue's flags that are in the mask."""
    attributes = attribute(NFQA_CFG_FLAGS, _id.pack(flags)) + attribute(NFQA_CFG_MASK, _id.pack(mask))
    return _message(CONFIG, queue, attributes)


def verdict_heads(queue: int) -> tuple[bytes, bytes, bytes]:
    """Verdicts without their last four bytes, the id (see `pack_id`): accept, drop, accept all up to this id."""
    accept, drop, accept_up_to = (
        _message(kind, queue, attribute(NFQA_VERDICT_HDR, _verdict.pack(what, 0)))[: -_id.size]
        for kind, what in ((VERDICT, NF_ACCEPT), (VERDICT, NF_DROP), (VERDICT_BATCH, NF_ACCEPT))
    )
    return accept, drop, accept_up_to


def rewrite(queue: int, id: int, raw: bytes) -> bytes:
    """The verdict: the packet goes on with these bytes."""
    verdict = attribute(NFQA_VERDICT_HDR, _verdict.pack(NF_ACCEPT, id))
    return _message(VERDICT, queue, verdict + attribute(NFQA_PAYLOAD, raw))


def requeue(queue: int, id: int, to: int, raw: bytes = b"") -> bytes:
    """The verdict: the packet goes to another queue, or to the same one again; with these bytes, if there are any.

    It doesn't pass the rules again. Where nobody listens to that queue, it goes on.
    """
    verdict = attribute(NFQA_VERDICT_HDR, _verdict.pack(to << 16 | QUEUE_BYPASS | NF_QUEUE, id))
    return _message(VERDICT, queue, verdict + (attribute(NFQA_PAYLOAD, raw) if raw else b""))


pack_id = _id.pack
"""A packet's id as the last bytes of a verdict."""


ACK_OF_NOTHING = -errno.ENOENT
"""The error that acknowledges a batch of verdicts when the queue holds no such packet."""


def accept_all(queue: int) -> bytes:
    """Two batches of verdicts that accept every packet that the queue holds, whatever its id.

    A batch is for all ids up to the given one. nfq_batch_cmp() in nfnetlink_queue.c compares them by the sign of a
    32-bit difference, so each half of the ids needs a batch. Both are acknowledged.
    """
    return b"".join(
        _message(VERDICT_BATCH, queue, attribute(NFQA_VERDICT_HDR, _verdict.pack(NF_ACCEPT, last)), NLM_F_ACK)
        for last in (0x7FFF_FFFF, 0xFFFF_FFFF)
    )


def errors_in(data: bytes) -> list[int]:
    """The error codes of the acknowledgements among these messages: negative, or 0 for success."""
    codes, at = [], 0
    while at + _header.size <= len(data):
        length, kind, *_ = _header.unpack_from(data, at)
        if kind == NLMSG_ERROR:
            codes.append(_code.unpack_from(data, at + _header.size)[0])
        at += max(length + 3 & ~3, _header.size)
    return codes
