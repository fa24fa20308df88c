"""Makes docs/policies.md from the policies and the tables of docs/features.md: python -m docs.make"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shaper.policy.options import Option
from shaper.report.manual import Entry, entry_of
from shaper.spec.load import builtin_names, split_spec
from shaper.timeline import draw, stories_of

HERE = Path(__file__).parent
FEATURES = HERE / "features.md"
POLICIES = HERE / "policies.md"
OURS = "Only here"
"""The section of features.md with what no other program has."""
UNCOVERED = ("not yet:", "out of scope:")

HEAD = """\
# The policies

`shaper policies NAME` shows one of these policies in a terminal. To write your own, read
[policies-guide.md](policies-guide.md). If you know netem, toxiproxy, clumsy, Mahimahi, tcconfig, pumba or Chaos Mesh,
[features.md](features.md) says which policy does the same. This file is made from the policies: `python -m docs.make`
writes it again.

Every policy has the options below. Where a policy has another default for `scope` or `only`, its table says so.
Policies that hold nothing have no `limit`.

"""


class Feature(NamedTuple):
    """A row of features.md.

    Attributes:
        program: the one that has the feature.
        name, cover, proof: the cells.
    """

    program: str
    name: str
    cover: str
    proof: str

    @property
    def is_covered(self) -> bool:
        return not self.cover.startswith(UNCOVERED)

    @property
    def means(self) -> list[str]:
        """The SPECs, options and commands that do the same."""
        return spans(self.cover) if self.is_covered else []


def spans(cell: str) -> list[str]:
    """The texts in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def features() -> list[Feature]:
    """All rows of features.md."""
    found, program = [], ""
    for line in FEATURES.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            program = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| feature "):
            name, cover, proof = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(Feature(program, name, cover, proof))
    return found


def policies() -> str:
    """The text of policies.md."""
    entries = [entry_of(name) for name in builtin_names()]
    common = [option for option in entry_of("delay").options if option.common]
    index = "\n".join(f"- [{entry.head}](#{entry.head}): {entry.summary}" for entry in entries)
    return HEAD + table(common) + f"\n{index}\n" + "".join(f"\n{section(entry)}" for entry in entries)


def section(entry: Entry) -> str:
    """The section about one policy."""
    own = [option for option in entry.options if not option.common]
    stories = stories_of(entry.policy)
    parts = [f"## {entry.head}", *entry.paragraphs]
    if own:
        parts.append(table(own).rstrip())
    for option in own:
        if option.name == entry.policy.shorthand:
            value = option.format(option.default)
            parts.append(f"`{option.name}=` may be left out: `{entry.head}:{value}`." if " " not in value else "")
    parts.append(f"```sh\nshaper run --policy {stories[0].specs[0]} -- COMMAND\n```")
    parts += [f"`{story.title}`:\n\n```\n{draw(story)}\n```" for story in stories]
    elsewhere = list(siblings(entry.head))
    if elsewhere:
        parts.append("Elsewhere:\n\n" + "\n".join(f"- {each}" for each in elsewhere))
    return "\n\n".join(part for part in parts if part) + "\n"


def table(options: list[Option]) -> str:
    rows = ["| option | value | default | meaning |", "|---|---|---|---|"]
    for option in options:
        cells = (
            f"`{option.name}`",
            option.kind.replace("|", ", "),
            f"`{option.format(option.default)}`",
            " ".join(option.doc.split()),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def siblings(policy: str) -> Iterator[str]:
    """What does the same in other programs: "**netem** `delay TIME`, `limit PACKETS`"."""
    rows = [row for row in features() if policy in (split_spec(spec)[0] for spec in row.means)]
    for program in dict.fromkeys(row.program for row in rows if row.program != OURS):
        yield f"**{program}** {', '.join(row.name for row in rows if row.program == program)}"


if __name__ == "__main__":
    POLICIES.write_text(policies(), encoding="utf-8")
