"""`shaper check`: tests of a policy before it meets real traffic."""

from __future__ import annotations

from typing import Annotated

import typer

from shaper.cli.options import Json

EXAMPLES = (
    "shaper check ./my_policy.py",
    "shaper check spread_burst:gap=5ms --json",
)


def check(
    policy: Annotated[str, typer.Argument(metavar="SPEC", help="A policy, as for --policy.")],
    packets: Annotated[int, typer.Option(min=1, metavar="N", help="Generate N packets.")] = 10_000,
    json: Json = None,
) -> int:
    """Test a policy on its own stories and on generated traffic.

    Reports stories that come out differently, packets that the policy never sends or drops,
    differences between two runs with the same seed, and uses of the clock, of randomness or
    of I/O in its file. The exit status is 1 if there is anything to fix.
    """
    from shaper.check.examine import examine
    from shaper.report.output import console, write_json

    found = examine(policy, packets)
    number = found.differs or 0
    differing = f"packet {number}" if number > 0 else f"packet {-number} of those that the policy made"
    out = console(json)
    for text, is_wrong in (
        (f"stories in its docstring: {found.stories}, with another outcome: {len(found.otherwise)}",
         found.otherwise),
        (f"packets generated: {found.packets}, at {found.rate:,.0f} a second here", ()),
        (f"packets forgotten, held until the longest hold was over: {found.forgotten}", found.forgotten),
        ("two runs with the same seed are equal" if found.differs is None else
         f"two runs with the same seed differ, first in {differing}", found.differs is not None),
        (found.failure or "no failure", found.failure),
        (f"uses of the clock, of randomness or of I/O: {len(found.impure)}", found.impure),
    ):  # fmt: skip
        out.print(f"{'fix' if is_wrong else 'ok':<5} {text}", markup=False, highlight=False, soft_wrap=True)
    for text in (*(f"      {use}" for use in found.impure), *(f"\n{story}" for story in found.otherwise)):
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    write_json({"v": 1, "policy": policy, "ok": found.ok, **found._asdict()}, json)
    return 0 if found.ok else 1
