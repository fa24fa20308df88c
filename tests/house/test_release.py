"""What a release is made of: the files that are built are complete, workflows call what there is, pins are in force."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import ROOT, pyproject
from release.build import build
from release.check import faults, faults_of_tag, main
from release.deb import EXTRAS, UNIT, packaged_files
from release.fresh import WAYS, Fault, System, rows
from tests.commands import COMMANDS

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the pure wheel, and the compiled one that `./dev compile` has built."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    subprocess.run([ROOT / "dev", "compile"], check=True)
    for wheel in (ROOT / ".venv-compiled" / "dist").iterdir():
        shutil.copy(wheel, folder)
    return folder


def test_what_is_built_is_complete(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(built) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list(built.iterdir())) == 3


def test_what_is_wrong_is_found(built: Path, tmp_path: Path) -> None:
    (pure,) = built.glob("*-none-any.whl")
    lacks = ("shaper/iptables/README.md", "shaper/py.typed", "shaper/policies/delay.py")
    with ZipFile(pure) as wheel, ZipFile(tmp_path / pure.name, "w") as damaged:
        for name in wheel.namelist():
            if name not in lacks:
                content = wheel.read(name)
                damaged.writestr(
                    name, content.replace(b"Version: 0", b"Version: 9") if name.endswith("METADATA") else content
                )
        damaged.writestr("tests/__init__.py", f"ROOT = '{ROOT}/tests'")
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(tmp_path / sdist.name.replace("0", "9"), "w:gz"):
        pass
    version = pyproject()["project"]["version"]
    said = "\n".join(faults(tmp_path))
    for name in lacks:
        assert f"{pure.name}: it lacks {name}" in said
    assert f"{pure.name}: it has tests/__init__.py" in said
    assert f"{pure.name}: its Version is '9" in said
    assert "tests/__init__.py has a path of this machine" in said
    assert f"it is no file of nfq-shaper {version}" in said
    assert "it has no sdist" in said
    assert len(said.splitlines()) == len(lacks) + 5


def test_a_tag_names_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    version = pyproject()["project"]["version"]
    assert list(faults_of_tag("v9.9.9")) == [f"v9.9.9: pyproject.toml has version {version}"]
    (tmp_path / "CHANGELOG.md").write_text(f"# Changes\n\n## [{version}] - 2026-12-01\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module in ("release", "release.check"):
        monkeypatch.setattr(f"{module}.ROOT", tmp_path)
    assert list(faults_of_tag(f"v{version}")) == []


def test_what_is_pinned_is_what_is_needed() -> None:
    lines = (ROOT / "release" / "requirements.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", lines, re.MULTILINE))
    assert lines.count("--hash=sha256:") >= len(pinned) > 10
    project = pyproject()["project"]
    needed = [*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, needed):
        if requirement.name != project["name"]:
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, "run `./dev lock`"


@pytest.mark.parametrize("lacking", ["compiler", "headers"])
def test_without_what_the_core_is_compiled_with_a_line_says_what_to_do(lacking: str) -> None:
    compiler = "no-compiler" if lacking == "compiler" else "sh"
    say = "import sysconfig; sysconfig.get_path = lambda name: '/no-headers'; exec(open('setup.py').read())"
    done = subprocess.run(
        [sys.executable, "-c", say, "bdist_wheel"],
        cwd=ROOT,
        env={**os.environ, "CC": compiler, "SHAPER_COMPILED": "1"},
        capture_output=True,
        text=True,
    )
    (line,) = done.stderr.splitlines()
    what = "C compiler (no-compiler)" if lacking == "compiler" else "/no-headers/Python.h"
    assert line == (
        f"shaper's core can't be compiled: there is no {what}; install it with `apt install gcc python3-dev`, "
        "or leave the core in Python: set SHAPER_COMPILED=0"
    )
    assert done.returncode == 1


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_what_there_is(workflow: Path) -> None:
    there = set(re.findall(r"^    ([a-z]+)\)$", (ROOT / "dev").read_text(), re.MULTILINE))
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    called = [step["run"].split() for step in steps if "run" in step and "apt-get" not in step["run"]]
    assert called
    for program, command, *_ in called:
        assert program == "./dev"
        assert command in there
    for step in steps:
        assert ("run" in step) != bool(re.fullmatch(r"[\w-]+/[\w-]+@[\w/]+", step.get("uses", "")))
    for job in jobs.values():
        assert set([job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])) <= set(jobs)


def test_all_of_dev_s_commands_are_in_its_help() -> None:
    script = (ROOT / "dev").read_text()
    named = set(re.findall(r"^  ([a-z]+)\b", script.partition("usage() {")[2].partition("\nEND\n")[0], re.MULTILINE))
    assert named == set(re.findall(r"^    ([a-z]+)\)$", script, re.MULTILINE))


def test_the_service_has_options_that_there_are() -> None:
    copies = {place: source for source, place in packaged_files()}
    unit = (ROOT / copies[UNIT]).read_text()
    (command,) = re.findall(r"^ExecStart=/usr/bin/shaper start (.*)", unit, re.MULTILINE)
    known = {name for parameter in COMMANDS["start"].params for name in parameter.opts}
    assert set(re.findall(r"--[\w-]+", command)) <= known
    assert all((ROOT / source).is_file() for source in copies.values())


def test_each_way_of_the_page_is_tried() -> None:
    assert list(rows()) == list(WAYS)
    assert [runs.count("`") >= 2 for runs, _ in rows().values()] == [True] * len(WAYS)


def test_what_a_fresh_system_runs_is_never_run_by_the_machine(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    with pytest.raises(Fault):
        System(tmp_path).run(f"touch {tmp_path / 'here'}", "root")
    assert not (tmp_path / "here").exists()
