"""`shaper check`: what can be found out about a policy before it meets real traffic."""

from __future__ import annotations

from typing import Annotated

import typer

from shaper.cli.options import Json

EXAMPLES = (
    "shaper check ./my_policy.py",
    "shaper check spread_burst:gap=5ms --json",
)


def check(
    policy: Annotated[str, typer.Argument(metavar="SPEC", help="A policy, as --policy takes it.")],
    packets: Annotated[int, typer.Option(min=1, metavar="N", help="How many packets to generate.")] = 10_000,
    json: Json = None,
) -> int:
    """Try a policy on its own story and on generated traffic.

    Reports packets it forgets, fates that differ between two runs with one seed, and uses
    of clock, chance or I/O in its file. The exit status is 1 if there is anything to mend.
    """
    from shaper.check.examine import examine
    from shaper.report.output import console, write_json

    found = examine(policy, packets)
    out = console(json)
    for text, is_wrong in (
        (f"stories in its docstring: {found.stories}, of which otherwise than told: {len(found.otherwise)}",
         found.otherwise),
        (f"packets generated: {found.packets}, at {found.rate:,.0f} a second here", ()),
        (f"packets forgotten, held until their time was over: {found.forgotten}", found.forgotten),
        ("two runs with one seed are the same" if found.differs is None else
         f"two runs with one seed differ, first in packet {found.differs}", found.differs),
        (found.failure or "no failure", found.failure),
        (f"uses of clock, chance or I/O: {len(found.impure)}", found.impure),
    ):  # fmt: skip
        out.print(f"{'mend' if is_wrong else 'ok':<5} {text}", markup=False, highlight=False, soft_wrap=True)
    for text in (*(f"      {use}" for use in found.impure), *(f"\n{story}" for story in found.otherwise)):
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    write_json({"v": 1, "policy": policy, "ok": found.ok, **found._asdict()}, json)
    return 0 if found.ok else 1
