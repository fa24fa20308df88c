"""shaper as others install it: from a wheel or editable, used from another directory."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shaper.spec.load import builtin_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel_installed() -> Path:
    """A Python with shaper installed from a wheel, its core compiled."""
    subprocess.run([ROOT / "dev", "compile"], check=True)
    return ROOT / ".venv-compiled" / "bin" / "python"


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest) -> Path:
    """A Python with shaper installed."""
    python: Path = request.getfixturevalue("wheel_installed") if request.param == "wheel" else Path(sys.executable)
    return python


def run(python: Path, folder: Path, *command: str) -> str:
    """What a command prints that must succeed."""
    done = subprocess.run([python, *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_the_install_under_test(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import shaper; print(shaper.__file__)").strip()
    assert (Path(where) == ROOT / "shaper" / "__init__.py") == (installed == Path(sys.executable))


ON_THE_CORE = (
    "test_core.py", "test_connections.py", "test_header.py", "test_invariants.py", "test_segment.py",
    "test_trains.py", "timelines/test_stories.py", "kernel/test_engine.py", "kernel/test_start.py",
)  # fmt: skip
"""Tests of what is compiled where shaper is installed from a wheel."""


@pytest.mark.parametrize("those", ["not alone", pytest.param("alone", marks=pytest.mark.alone)])
def test_the_compiled_core_passes_its_tests(wheel_installed: Path, those: str) -> None:
    version = run(wheel_installed, ROOT, "-P", "-m", "shaper", "--version")
    assert version.endswith(", its core compiled\n")
    tests = [str(ROOT / "tests" / name) for name in ON_THE_CORE]
    # Safe paths: of what is in the current directory nothing is imported, but `tests`, which comes last.
    command = ("-m", "pytest", "-q", "-m", those, "-p", "no:cacheprovider", "--import-mode=append", *tests)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [wheel_installed, *command],
        cwd=ROOT,
        env={**environment, "PYTHONSAFEPATH": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


TYPED = """
from shaper import Duration, Packet, Policy, Send, ms

class Late(Policy):
    time: Duration = 20 * ms

    def on_packet(self, packet: Packet, now: int) -> Send:
        return Send(packet.with_tcp(window=1), at=now + self.time)
"""


def test_a_policy_of_somebody_else_s_is_type_checked(wheel_installed: Path, tmp_path: Path) -> None:
    for name, keyword in (("right.py", "window"), ("wrong.py", "windw")):
        (tmp_path / name).write_text(TYPED.replace("window", keyword))
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "--python-executable")
    command = [*mypy, str(wheel_installed), "right.py", "wrong.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert re.search(r'^wrong.py:\d+: error: Unexpected keyword argument "windw"', said, re.MULTILINE), said
    assert "Found 1 error in 1 file (checked 2 source files)" in said


def test_what_pip_is_asked_for_is_this_distribution(installed: Path, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    script = (
        "from importlib.metadata import metadata, packages_distributions;"
        f"known = metadata({project['name']!r});"
        f"assert {project['name']!r} in packages_distributions()['shaper'];"
        "print(known['Version'], *known.get_all('Provides-Extra'))"
    )
    version, *extras = run(installed, tmp_path, "-c", script).split()
    assert set(extras) == set(project["optional-dependencies"])
    assert run(installed, tmp_path, "-m", "shaper", "--version").startswith(f"shaper {version}")
    asked = set()
    for folder in ("shaper", "docs"):
        for path in (ROOT / folder).rglob("*.[pm][yd]"):
            asked |= set(re.findall(r"pip install '([\w-]+)\[(\w+)\]'", path.read_text()))
    assert {"figure", "tls"} <= {extra for _, extra in asked} <= set(extras)
    assert {name for name, _ in asked} == {project["name"]}


def test_all_policies_are_listed(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "-m", "shaper", "policies")
    for name in builtin_names():
        assert name in listed


def test_all_profiles_are_listed(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "-m", "shaper", "profiles")
    files = list((ROOT / "shaper" / "spec" / "profiles").glob("*.toml"))
    assert files
    for file in files:
        assert file.stem in listed


def test_the_rule_files_can_be_read(installed: Path, tmp_path: Path) -> None:
    script = "from importlib.resources import files; print(*(f.name for f in files('shaper.iptables').iterdir()))"
    names = set(run(installed, tmp_path, "-c", script).split())
    assert {path.name for path in (ROOT / "iptables").iterdir() if path.suffix != ".pyc"} - {"__pycache__"} <= names


def test_the_command_is_installed(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run([installed.with_name("shaper"), "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "0.1" in done.stdout


def test_a_pipeline_of_all_policies_starts_and_ends(installed: Path, namespaces: None, tmp_path: Path) -> None:
    policies = " ".join(f"--policy {name}" for name in builtin_names())
    start = f"{installed} -m shaper start {policies} --port 8765 --duration 200ms"
    script = f"ip link set lo up; {start}; iptables-save -t mangle"
    done = subprocess.run(["unshare", "-n", "sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "installed ipv4 and ipv6 rules" in done.stdout
    assert "NFQUEUE" not in done.stdout


def test_no_compiled_class_has_a_subclass_that_is_not() -> None:
    """Python refuses to make an object of such a class."""
    (modules,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODULES"
    )
    compiled = {f"shaper.{module.replace('/', '.')}" for module in modules}
    for path in (ROOT / "shaper").rglob("*.py"):
        if str(path.relative_to(ROOT / "shaper").with_suffix("")) in modules:
            continue
        tree = ast.parse(path.read_text())
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in compiled
            for alias in node.names
        }
        bases = {ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases}
        assert not bases & imported, f"{path.relative_to(ROOT)} has to be compiled, too"
