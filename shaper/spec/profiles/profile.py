"""What a profile says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any


@dataclass(frozen=True)
class Profile:
    """What a profile says.

    Attributes:
        name: the file's, without its ending.
        about: what it is like, in a line.
        source: where its numbers come from.
        date: when the source was published, or, if it has no date, read: YYYY, YYYY-MM or YYYY-MM-DD.
        pipeline: SPECs, the first policy first.
        match: of interface, hook, protocol, port, source, destination, filter what it gives;
            `port` as a list.
        seed: decides all chance; None where the file has none.
    """

    name: str
    pipeline: tuple[str, ...]
    about: str = ""
    source: str = ""
    date: str = ""
    match: Mapping[str, Any] = field(default_factory=dict)
    seed: str | None = None

    def expression(self, filter: str | None = None) -> str | None:
        """What it matches as a tcpdump expression, but for interface and hook, of which a capture knows nothing.

        Args:
            filter: stands in place of the profile's own.
        """
        parts = []
        if self.match.get("protocol", "all") != "all":
            parts.append("icmp or icmp6" if self.match["protocol"] == "icmp" else self.match["protocol"])
        if "port" in self.match:
            parts.append(" or ".join(f"port {port}" for port in self.match["port"]))
        for key, word in (("source", "src"), ("destination", "dst")):
            if key in self.match:
                parts.append(f"{word} net {ip_network(self.match[key], strict=False)}")
        parts += [part for part in (filter or self.match.get("filter"),) if part]
        return " and ".join(f"({part})" for part in parts) or None
