"""`shaper policies`: what policies there are, and what each does."""

from __future__ import annotations

from typing import Annotated

import typer

from shaper.cli.options import Json, policy_names

EXAMPLES = (
    "shaper policies",
    "shaper policies spread_burst",
    "shaper policies ./drop_third.py",
)


def policies(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A policy, as --policy takes it.", autocompletion=policy_names),
    ] = None,
    json: Json = None,
) -> int:
    """List the policies, or show one with its options."""
    return 0
