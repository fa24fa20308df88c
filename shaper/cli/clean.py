"""`shaper clean`: remove the rules of a shaper that died."""

from __future__ import annotations

from shaper.cli.shaping import Container, Netns, Pid, place_of
from shaper.report.output import say

EXAMPLES = (
    "sudo shaper clean",
    "sudo shaper clean --container web",
)


def clean(netns: Netns = None, container: Container = None, pid: Pid = None) -> None:
    """Remove the rules of shapers that died; those of running ones stay."""
    from shaper.linux.capabilities import take
    from shaper.linux.netns import Namespace
    from shaper.live.rules.chain import installed

    take()
    place = place_of(netns=netns, container=container, pid=pid)
    if place is not None and (there := place.find()) is not None:
        Namespace(there.netns).enter()
    found = installed()
    for rules in found:
        families = " and ".join({"ipv4": "IPv4", "ipv6": "IPv6"}[family] for family in rules.families)
        what = f"the {families} rules of process {rules.owner.pid}, queue {rules.owner.queue}"
        if rules.dead:
            rules.remove()
            say(f"removed {what}")
        else:
            say(f"kept {what}, which is running")
    if not found:
        say("nothing to remove: shaper has no rules here")
