"""What people read is plain, in sentences that need not be read twice. codespell checks the spelling: ./dev lint."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 30
"""Words in a sentence."""
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "iptables/README.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "examples").rglob("*.md"),
]
NOT_PROSE = re.compile(r"#|\||!\[|<!--|>|    |\s*([-*+]|\d+\.)\s")
"""How lines begin that belong to headings, tables, pictures, code and lists."""


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a page; code counts as one word each, and links as their texts."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n", text):
        if block.strip() and not NOT_PROSE.match(block.strip("\n")):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", block))
            yield " ".join(plain.split())


def sentences(paragraph: str) -> list[str]:
    return re.split(r"(?<=[.!?])[)\"*]*\s+", paragraph)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_is_long(page: Path) -> None:
    found = [each for text in paragraphs(page.read_text()) for each in sentences(text)]
    assert [each for each in found if len(re.findall(r"[\w'/.-]+", each)) > LONGEST] == []
