"""Builds the site into build/site, without network: python -m docs.site [FOLDER]

The pages lie in one folder, as the links between them say, together with those made by reference.py. A link to a file
of the source leads to a copy of it. A link that leads nowhere fails the build.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from sphinx.cmd.build import build_main

from docs.site.reference import pages

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "README.md": "index.md",
    "iptables/README.md": "iptables.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "examples/README.md": "examples.md",
    **{
        str(page.relative_to(ROOT)): page.parent.name.replace("_", "-") + ".md"
        for page in (ROOT / "examples").glob("*/README.md")
    },
}
"""Pages that are not in docs/, and where the site has them."""
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#:\s]+)((?:#[^)]*)?\))")


def stage(folder: Path) -> None:
    """Put all pages into a folder, with links that hold there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sources = [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in ELSEWHERE if name != "README.md")]
    for source in sources:
        path = source.relative_to(ROOT)
        target = folder / ELSEWHERE.get(str(path), path.name)
        target.write_text(LINK.sub(partial(_relinked, path, folder), source.read_text()))
    for name, text in pages().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name in ("conf.py", "style.css"):
        shutil.copy(Path(__file__).parent / name, folder)


def _relinked(page: Path, folder: Path, link: re.Match[str]) -> str:
    before, target, after = link.groups()
    path = os.path.normpath(page.parent / target)
    if (name := ELSEWHERE.get(path)) is not None:
        return f"{before}{name}{after}"
    source = ROOT / path
    if path.startswith("docs/") and path.endswith(".md") and "/" not in path.removeprefix("docs/"):
        return f"{before}{path.removeprefix('docs/')}{after}"
    if source.is_dir():
        source = source / "README.md" if (source / "README.md").exists() else next(iter(sorted(source.iterdir())))
    if not source.is_file():
        return link[0]  # a page of the reference; if there is none, the build says so
    copy = folder / "files" / source.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, copy)
    return f"{before}{copy.relative_to(folder)}{after}"


def write_index_for_programs(folder: Path, source: Path) -> None:
    """Write llms.txt: the pages and what each is about, in plain text, see llmstxt.org."""
    lines = [
        "# shaper",
        "",
        "> An NFQUEUE packet shaper with scriptable per-packet policies, and the stalls they cause.",
        "",
    ]
    for section in re.finditer(r":caption: (.*?)\n(.*?)```", (source / "index.md").read_text(), re.DOTALL):
        lines += [f"## {section[1]}", ""]
        for name in filter(None, section[2].split("\n")):
            name = name.split("<")[-1].rstrip(">").strip()
            if not name or name.startswith(":"):
                continue
            title, _, text = (source / f"{name}.md").read_text().removeprefix("# ").partition("\n")
            lines.append(f"- [{title}]({name}.html): {_first_sentence(text)}")
        lines.append("")
    (folder / "llms.txt").write_text("\n".join(lines))


def _first_sentence(text: str) -> str:
    """Of a page, without links; empty if it doesn't begin with a sentence."""
    paragraphs = text.strip().split("\n\n")
    sentence = re.match(r"(?!```|#|!|\|)(.*?[.:?])(?:\s|$)", " ".join(paragraphs[0].split()))
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", sentence[1]) if sentence else ""


def build(folder: Path) -> int:
    """Build it; returns an exit status: 1 if there are warnings, such as links that lead nowhere."""
    source = folder.with_name(f"{folder.name}-source")
    stage(source)
    status = build_main(
        ["-q", "-W", "--keep-going", "-E", "-b", "html", "-d", str(source / ".doctrees"), str(source), str(folder)]
    )
    if status == 0:
        write_index_for_programs(folder, source)
    return status


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"))
