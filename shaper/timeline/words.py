"""The words that are said of a packet."""

from __future__ import annotations

from shaper.timeline.packet_spec import Ends
from shaper.timeline.story import Mention, StoryError
from shaper.wire.flow import parse_end
from shaper.wire.header import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

PAYLOAD = 100
"""Bytes that a packet carries when nothing is said of them."""

FLAGS = {"syn": SYN, "fin": FIN | ACK, "rst": RST | ACK, "psh": PSH, "urg": URG, "ece": ECE, "cwr": CWR}
ECN = {"ect1": 1, "ect0": 2, "ce": 3}
CARRIERS = ("udp", "icmp", "other", "fragment")
NUMBERS = ("seq", "ack", "win", "data", "mss", "options", "flow", *CARRIERS)
PLAIN = ("syn", "synack", "fin", "rst", "psh", "urg", "ece", "cwr", "noack", "sack", "reply", "v6", *ECN)


def read(mention: Mention, line: int) -> dict[str, int]:
    """Each word with its number, -1 where it has none."""
    said: dict[str, int] = {}
    for word in mention.words:
        name, equals, value = word.partition("=")
        if name == "text" and value:
            continue
        if equals and (name not in NUMBERS or not value.isdigit()):
            raise StoryError(f"line {line}: '{mention}': '{word}' is none of {', '.join(NUMBERS)} with a whole number")
        if not equals and name not in (*PLAIN, "ack", "data", *CARRIERS):
            raise StoryError(f"line {line}: '{mention}': there is no word '{word}'; there are {', '.join(PLAIN)}")
        said[name] = int(value) if equals else -1
    return said


def ends(source: str, destination: str) -> Ends:
    """Both ends of a flow as `flow 1  192.0.2.1:40001 > 192.0.2.2:80` says them."""
    try:
        return Ends(*parse_end(source), *parse_end(destination))
    except ValueError as error:
        raise StoryError(str(error)) from None
