"""Checks what a release has before somebody installs it: python -m release.check FOLDER [TAG]

Each file of a package and each man page is in each wheel, and nothing else is; the metadata is that of pyproject.toml;
no path of the machine on which it was built is in it. Prints a line for each file, or what is wrong; the status is then
1.
"""

from __future__ import annotations

import os
import re
import sys
import tarfile
from collections.abc import Iterator
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

from docs import man
from release import ROOT, files, pyproject
from release.build import PREFIX

FOREIGN = (b"%s/" % os.fsencode(ROOT), b"/" + PREFIX.encode())
"""Parts of paths that only the machine has on which it was built."""
OPEN = ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "setup.py")
"""Files that the sdist must have beside the packages."""
NAME = re.compile(r"nfq_shaper-(?P<version>[^-]+)(-(?P<python>\w+)-(?P<abi>\w+)-(?P<platform>[\w.]+)\.whl|\.tar\.gz)")


def packaged() -> set[str]:
    """The files of all packages, by their names in a wheel: of each one its modules, and what it reads."""
    setup = pyproject()["tool"]["setuptools"]
    places = {setup["package-dir"][name]: name.replace(".", "/") for name in setup["package-dir"]}
    return {f"{places[file.parts[0]]}/{file.relative_to(file.parts[0])}" for file in files() if file.parts[0] in places}


def faults_of_wheel(path: Path) -> Iterator[str]:
    """What is wrong with a wheel."""
    with ZipFile(path) as wheel:
        contents = {name: wheel.read(name) for name in wheel.namelist()}
    info = {name.partition("/")[2]: name for name in contents if ".dist-info/" in name}
    own = set(contents) - set(info.values())
    compiled = {name for name in own if name.endswith(".so")}
    data = "-".join(path.name.split("-")[:2]) + ".data/data/share/man/man1"
    if bool(compiled) == ("none-any" in path.name):
        yield f"it has {len(compiled)} compiled modules"
    yield from _differences(own - compiled, packaged() | {f"{data}/{name}" for name in man.pages()})
    yield from _faults_of_metadata(contents[info["METADATA"]])
    scripts = ConfigParser()
    scripts.read_string(contents[info["entry_points.txt"]].decode())
    project = pyproject()["project"]
    wanted = {"console_scripts": project["scripts"], **project["entry-points"]}
    if {group: dict(scripts[group]) for group in scripts.sections()} != wanted:
        yield f"its entry points are not {wanted}"
    yield from _foreign(contents)


def faults_of_sdist(path: Path) -> Iterator[str]:
    """What is wrong with an sdist."""
    with tarfile.open(path) as sdist:
        contents = {
            member.name.partition("/")[2]: extracted.read()
            for member in sdist.getmembers()
            if member.isfile() and (extracted := sdist.extractfile(member))
        }
    made = {"PKG-INFO", "setup.cfg", "MANIFEST.in"}
    own = {name for name in contents if name not in made and ".egg-info/" not in name}
    yield from _differences(own, {str(file) for file in files()} | {f"man/{name}" for name in man.pages()})
    yield from (f"it lacks {name}" for name in OPEN if name not in contents)
    yield from _faults_of_metadata(contents["PKG-INFO"])
    yield from _foreign(contents)


def _differences(found: set[str], wanted: set[str]) -> Iterator[str]:
    yield from (f"it lacks {name}" for name in sorted(wanted - found))
    yield from (f"it has {name}, which is no file of it" for name in sorted(found - wanted))


def _faults_of_metadata(text: bytes) -> Iterator[str]:
    metadata: Message = Parser().parsestr(text.decode())
    project = pyproject()["project"]
    wanted = {
        "Name": project["name"],
        "Version": project["version"],
        "Summary": project["description"],
        "Requires-Python": project["requires-python"],
        "License-Expression": project["license"],
        "Description-Content-Type": "text/markdown",
    }
    yield from (
        f"its {key} is {metadata[key]!r}, not {value!r}" for key, value in wanted.items() if metadata[key] != value
    )
    needed = {str(Requirement(text)) for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text}
    if needed != {str(Requirement(text)) for text in project["dependencies"]}:
        yield f"it requires {', '.join(sorted(needed))}"
    if set(metadata.get_all("Provides-Extra", [])) != set(project["optional-dependencies"]):
        yield f"its extras are {metadata.get_all('Provides-Extra')}"


def _foreign(contents: dict[str, bytes]) -> Iterator[str]:
    for name, content in contents.items():
        yield from (f"{name} has a path of this machine, {part!r}" for part in FOREIGN if part in content)


def faults(folder: Path) -> Iterator[str]:
    """What is wrong with the release in this folder: one line each, which begins with the file's name."""
    version = pyproject()["project"]["version"]
    kinds = []
    for path in sorted(path for path in folder.iterdir() if path.suffix != ".deb"):
        name = NAME.fullmatch(path.name)
        if name is None or name["version"] != version:
            yield f"{path.name}: it is no file of nfq-shaper {version}"
            continue
        kinds.append(name["platform"] or "sdist")
        check = faults_of_wheel if name["platform"] else faults_of_sdist
        yield from (f"{path.name}: {fault}" for fault in check(path))
    yield from (f"{folder}: it has no {kind}" for kind in ("sdist", "any") if kind not in kinds)


def faults_of_tag(tag: str) -> Iterator[str]:
    """What is wrong if this tag, such as v1.2.0, is released."""
    version = pyproject()["project"]["version"]
    if tag != f"v{version}":
        yield f"{tag}: pyproject.toml has version {version}"
    elif f"\n## [{version}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"{tag}: CHANGELOG.md has no section [{version}]"


def main(folder: Path, *tags: str) -> int:
    """Print the faults, or else what is there; returns the exit status."""
    found = [*faults(folder), *(fault for tag in tags for fault in faults_of_tag(tag))]
    lines = found or [f"{path.name}: right, {path.stat().st_size:,} bytes" for path in sorted(folder.iterdir())]
    print("\n".join(lines))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
