"""The man pages: they have what --help has, and man reads them without a complaint."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.man import pages, write
from shaper import cli
from tests.commands import COMMANDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("man")
    write(made)
    return made


def plain(page: str) -> str:
    """A page without fonts, and without what keeps characters from having a meaning."""
    for written, meant in ((r"\-", "-"), (r"\(aq", "'"), (r"\(ha", "^"), (r"\(ti", "~"), (r"\e", "\\"), (r"\&", "")):
        page = page.replace(written, meant)
    return re.sub(r"\\f[BIR]", "", page)


def test_there_is_a_page_for_each_command_with_all_its_options() -> None:
    made = pages()
    assert set(made) == {"shaper.1", *(f"shaper-{name}.1" for name in cli.COMMANDS)}
    for name, command in COMMANDS.items():
        lines = plain(made[f"shaper-{name}.1"]).splitlines()
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert any(re.match(rf"(-., )?{option}\b", line) for line in lines), f"{name} {option}"
        assert {line.strip() for line in (command.epilog or "").splitlines()[2:]} <= set(lines), name
        assert f"shaper-{name}(1)" in plain(made["shaper.1"])


def test_the_pages_are_well_formed(folder: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("needs mandoc: apt-get install mandoc")
    names = [str(path) for path in sorted(folder.iterdir())]
    # Lines of the source may be long.
    checked = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *names], capture_output=True, text=True)
    assert [line for line in checked.stdout.splitlines() if ": STYLE: " not in line] == []
    printed = subprocess.run(["mandoc", "-Tutf8", "-Owidth=80", *names], capture_output=True, text=True, check=True)
    assert max(len(re.sub(".\b", "", line)) for line in printed.stdout.splitlines()) <= 80
