"""The hash by which the kernel spreads packets over queues (`-j NFQUEUE --queue-balance`), and a check of it.

Source: nfqueue_hash, hash_v4 and hash_v6 in include/net/netfilter/nf_queue.h of the kernel, with jhash_3words of
include/linux/jhash.h and reciprocal_scale of include/linux/kernel.h. The kernel draws the secret once, when the first
such rule is made. Ports aren't part of it, and in IPv6 neither is the protocol.
"""

import json
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Literal, NamedTuple

from bench.compiled import BenchError, program
from bench.namespace import Namespace
from bench.plan import Found

PROBE = Path(__file__).with_name("which_queue.py")
QUEUES = 13
"""Not a power of two, so that the whole hash counts."""
Words = tuple[int, int, int]
ByteOrder = Literal["little", "big"]
MASK = 0xFFFF_FFFF
JHASH_INITVAL = 0xDEAD_BEEF


def words(source: str, destination: str, protocol: int, order: ByteOrder = sys.byteorder) -> Words:
    """What is hashed for a packet, on a machine of this byte order; the same for both directions."""
    ends = ip_address(source), ip_address(destination)
    if isinstance(ends[0], IPv4Address):
        low, high = sorted(_word(end, 0, order) for end in ends)
        return low, high, protocol
    low, high = sorted(_word(end, 3, order) for end in ends)
    return low, high, min(_word(end, 1, order) for end in ends)


def _word(address: IPv4Address | IPv6Address, number: int, order: ByteOrder) -> int:
    """A word of 32 bits of an address, as the kernel reads it from memory."""
    return int.from_bytes(address.packed[4 * number : 4 * number + 4], order)


def hashed(words: Words, secret: int) -> int:
    """jhash_3words: 32 bits."""
    start = secret + JHASH_INITVAL + (3 << 2)
    a, b, c = (word + start & MASK for word in words)
    c = (c ^ b) - _rotated(b, 14) & MASK
    a = (a ^ c) - _rotated(c, 11) & MASK
    b = (b ^ a) - _rotated(a, 25) & MASK
    c = (c ^ b) - _rotated(b, 16) & MASK
    a = (a ^ c) - _rotated(c, 4) & MASK
    b = (b ^ a) - _rotated(a, 14) & MASK
    return (c ^ b) - _rotated(b, 24) & MASK


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & MASK


def queue_of(words: Words, secret: int, queues: int) -> int:
    """The queue that a packet goes to, counted from 0."""
    return hashed(words, secret) * queues >> 32


class Seen(NamedTuple):
    """A packet, and the queue that the kernel gave it."""

    source: str
    destination: str
    protocol: int
    queue: int

    @property
    def words(self) -> Words:
        """See `words`."""
        return words(self.source, self.destination, self.protocol)


def check() -> Found:
    """Have the kernel give packets queues, and look whether there is a secret with which the hash does the same.

    Returns how many packets there were, for how many the hash is right, how many of all secrets fit, and how many pairs
    of addresses had different queues for their two directions.

    Raises:
        BenchError: it can't be tried here, or no secret fits.
    """
    namespace = Namespace(None)
    try:
        lines = namespace.run([sys.executable, str(PROBE), str(QUEUES)]).splitlines()
    finally:
        namespace.close()
    seen = [Seen(*json.loads(line)) for line in lines]
    text = "".join(f"{a} {b} {c} {queue}\n" for (a, b, c), queue in ((each.words, each.queue) for each in seen))
    said = subprocess.run([program("secret"), str(QUEUES)], input=text, capture_output=True, text=True, check=True)
    secrets = [int(line) for line in said.stdout.split()]
    if not secrets:
        raise BenchError("no secret explains where this kernel put packets: its hash is another one")
    found = {(each.source, each.destination, each.protocol): each.queue for each in seen}
    split = sum(found[each.destination, each.source, each.protocol] != each.queue for each in seen) // 2
    right = sum(queue_of(each.words, secrets[0], QUEUES) == each.queue for each in seen)
    return {"packets": len(seen), "explained": right, "secrets": len(secrets), "split": split}
