"""The manual of the policies: a list of all, and a page for each, made from their docstrings.

The first line of a policy's docstring is its summary. Paragraphs that begin with "# " are
stories (see `shaper.timeline`), all others are prose.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.errors import UsageError
from shaper.policy.base import Policy
from shaper.policy.options import Option, options_of
from shaper.report.table import table
from shaper.spec.load import GROUP, builtin_names, find
from shaper.timeline import Story, draw, stories_of

if TYPE_CHECKING:
    from rich.console import Console


class Entry(NamedTuple):
    """A policy in the manual.

    Attributes:
        head: the beginning of its SPEC.
        origin: "built-in", "plugin", "file" or "module".
        policy: its class.
    """

    head: str
    origin: str
    policy: type[Policy]

    @property
    def paragraphs(self) -> list[str]:
        """The prose of its docstring."""
        doc = inspect.cleandoc(self.policy.__doc__ or "") if self.policy.__doc__ != Policy.__doc__ else ""
        return [text for text in doc.split("\n\n") if text.strip() and not text.startswith("# ")]

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.paragraphs[0].splitlines()[0] if self.paragraphs else "(it has no docstring)"

    @property
    def options(self) -> list[Option]:
        """Its options, its own first."""
        return list(options_of(self.policy).values())


def entries() -> tuple[list[Entry], list[str]]:
    """All policies that have a name, and an error for each plugin that can't be loaded."""
    found = [Entry(name, "built-in", find(name)) for name in builtin_names()]
    faults = []
    for name in sorted({point.name for point in entry_points(group=GROUP)} - {entry.head for entry in found}):
        try:
            found.append(Entry(name, "plugin", find(name)))
        except UsageError as error:
            faults.append(str(error))
    return found, faults


def entry_of(head: str) -> Entry:
    """One policy, by the HEAD of a SPEC.

    Raises:
        LoadError: there is none, or it can't be loaded.
    """
    policy = find(head)
    if head in builtin_names():
        return Entry(head, "built-in", policy)
    return Entry(head, "file" if head.endswith(".py") else "module" if ":" in head else "plugin", policy)


def as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """The document of `shaper policies --json` (`schemas/policies.json`)."""
    return {
        "v": 1,
        "policies": [
            {
                "name": entry.head,
                "origin": entry.origin,
                "summary": entry.summary,
                "doc": "\n\n".join(entry.paragraphs),
                "shorthand": entry.policy.shorthand,
                "options": [
                    {
                        "name": option.name,
                        "kind": option.kind,
                        "default": option.format(option.default),
                        "doc": " ".join(option.doc.split()),
                        "common": option.common,
                    }
                    for option in entry.options
                ],
            }
            for entry in entries
        ],
    }


def print_list(out: Console, entries: Sequence[Entry]) -> None:
    """Print a line for each policy."""
    rows = [(entry.head, entry.summary) for entry in entries]
    out.print(table(("Policy", "What it does"), rows))
    out.print("\nshaper policies NAME shows one with its options.")


def print_page(out: Console, entry: Entry) -> None:
    """Print all about one policy."""
    out.print(f"{entry.head} ({entry.origin})\n", style="bold")
    for paragraph in entry.paragraphs:
        out.print(" ".join(paragraph.split()) + "\n")
    own, common = (
        [row_of(option, entry) for option in entry.options if option.common == is_common] for is_common in (False, True)
    )
    out.print(table(("Option", "Value", "Default", "Meaning"), [*own, (), *common] if own else common))
    for option in entry.options:
        if option.name == entry.policy.shorthand:
            out.print(f"\n* may be given without its name: {entry.head}:{option.format(option.default)}")
    out.print()
    stories = stories_of(entry.policy)
    spec = stories[0].specs[0] if stories and len(stories[0].specs) == 1 else entry.head
    out.print("Example", style="bold")
    out.print(f"  shaper start --policy {shlex.quote(spec)}\n", soft_wrap=True)
    for story in stories:
        for line in picture(story):
            out.print(line, soft_wrap=True)


def row_of(option: Option, entry: Entry) -> tuple[str, str, str, str]:
    """An option's row in the table: its name, value, default and meaning."""
    mark = " *" if option.name == entry.policy.shorthand else ""
    kind = option.kind.replace("|", " | ")
    return option.name + mark, kind, option.format(option.default), " ".join(option.doc.split())


def picture(story: Story) -> Iterator[str]:
    """The lines of a story's drawing, with a title."""
    yield f"Timeline of {story.title}"
    yield ""
    yield draw(story)
    yield ""
