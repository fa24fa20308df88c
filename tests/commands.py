"""The commands of the command line, with their options, as typer has them."""

from typer.core import TyperGroup
from typer.main import get_command

from shaper import cli


def groups() -> dict[str, TyperGroup]:
    """The command line as each command sees it."""
    found = {}
    for name in cli.COMMANDS:
        group = get_command(cli.application([name]))
        assert isinstance(group, TyperGroup)
        found[name] = group
    return found


COMMANDS = {name: group.commands[name] for name, group in groups().items()}
