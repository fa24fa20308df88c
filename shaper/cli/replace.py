"""`shaper replace`: another pipeline for a running shaper."""

from __future__ import annotations

from pathlib import Path

from shaper.cli.options import Policies, ProfileName
from shaper.cli.running import Name, connect
from shaper.report.output import say

EXAMPLES = (
    "shaper replace --policy delay:50ms --policy loss:2%",
    "shaper replace web --policy ./drop_third.py",
    "shaper replace --profile lte",
)


def replace(policy: Policies, name: Name = None, profile: ProfileName = None) -> None:
    """Replace the pipeline of a running shaper, without a gap.

    Packets taken from now on meet the new policies; packets already held keep their time.
    If a policy is wrong, nothing changes. Of a profile only the policies count, not what
    it matches, and only those of its first phase.
    """
    from shaper.spec.load import expand
    from shaper.top.stage import in_force

    for stage in connect(name).replace([with_path(spec) for spec in expand(policy)]):
        say(in_force(stage))


def with_path(spec: str) -> str:
    """The SPEC with the whole path of its file, since the shaper may run in another directory."""
    head, colon, options = spec.partition(":")
    return f"{Path(head).absolute()}{colon}{options}" if head.endswith(".py") else spec
