"""docs/design.md names only files, rooms and classes that exist, and its rooms are in the order that imports keep."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from docs.make import spans
from tests.house.test_imports import HOUSE, MODULES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
DRAWN = re.findall(r"[A-Z]\w*[a-z]\w*\.[a-z_]\w*", TEXT)
"""Methods in the drawings, which have no backticks, as `Queue.take`."""


@cache
def classes() -> dict[str, set[str]]:
    """All classes of shaper, by name, with the names of their attributes and methods."""
    found: dict[str, set[str]] = {}
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                own = found.setdefault(node.name, set())
                own |= {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


NAMES = sorted(set(spans(PROSE)))
PATHS = [name for name in NAMES if re.fullmatch(r"\w[\w/.]*/[\w.]*", name)]
OBJECTS = sorted({name for name in NAMES if re.fullmatch(r"[A-Z]\w*[a-z]\w*(\.\w+)?", name)} | set(DRAWN))


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", OBJECTS)
def test_a_class_that_it_names_exists(name: str) -> None:
    kind, _, attribute = name.partition(".")
    assert kind in classes()
    assert not attribute or attribute in classes()[kind]


def test_its_rooms_are_those_whose_imports_are_tested() -> None:
    table = TEXT.partition("| rooms |")[2].partition("\n\n")[0]
    rows = [spans(line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    assert rows == [line.split() for line in HOUSE.split("\n") if line.strip()]
