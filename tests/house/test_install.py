"""shaper as others install it: from a wheel or editable, used from another directory."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from shaper.linux.capabilities import CAP_SYS_ADMIN, can
from shaper.spec.load import builtin_names

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
PARTS = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "shaper", "policies", "iptables")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, since a build leaves files beside the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source / part)
    build = [*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(out), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel_installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with shaper installed from the wheel."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    subprocess.run([*PIP, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    # What shaper depends on comes from here; a path that a .pth file adds has its own .pth files, and so the
    # editable install, ignored.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("platlib") + "\n")
    return python


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
    assert Path(where).is_relative_to(ROOT) == (installed == Path(sys.executable))


ON_THE_CORE = (
    "test_core.py", "test_connections.py", "test_header.py", "test_invariants.py", "test_segment.py",
    "timelines/test_stories.py", "kernel/test_engine.py", "kernel/test_start.py",
)  # fmt: skip
"""Tests of what is compiled where shaper is installed from a wheel."""


def test_the_compiled_core_passes_its_tests(wheel_installed: Path) -> None:
    version = run(wheel_installed, ROOT, "-P", "-m", "shaper", "--version")
    assert version.endswith(", its core compiled\n")
    tests = [str(ROOT / "tests" / name) for name in ON_THE_CORE]
    # Safe paths: of what is in the current directory nothing is imported, but `tests`, which comes last.
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=append", *tests)
    done = subprocess.run(
        [wheel_installed, *command], cwd=ROOT, env={**os.environ, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True
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
    policy = tmp_path / "late.py"
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "--python-executable")
    for keyword, outcome in (("window", "Success"), ("windw", 'Unexpected keyword argument "windw"')):
        policy.write_text(TYPED.replace("window", keyword))
        done = subprocess.run([*mypy, str(wheel_installed), policy], cwd=tmp_path, capture_output=True, text=True)
        assert outcome in done.stdout, done.stdout + done.stderr


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


def test_a_pipeline_of_all_policies_starts_and_ends(installed: Path, tmp_path: Path) -> None:
    if not can(CAP_SYS_ADMIN):
        pytest.skip("starts in a network namespace, which needs root")
    policies = " ".join(f"--policy {name}" for name in builtin_names())
    start = f"{installed} -m shaper start {policies} --port 8765 --duration 200ms"
    script = f"ip link set lo up; {start}; iptables-save -t mangle"
    done = subprocess.run(["unshare", "-n", "sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "installed ipv4 and ipv6 rules" in done.stdout
    assert "NFQUEUE" not in done.stdout
