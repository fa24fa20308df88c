"""pytest itself inside a network: --shaper and --shaper-profile, for suites that know nothing of shaper."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.testing.conftest import SERVER, Suite, section

WHOLE = """
@pytest.fixture(scope="session")
def served():
    made = socket.create_server(("127.0.0.1", 0))
    def serve():
        while True:
            made.accept()[0].close()
    threading.Thread(target=serve, daemon=True).start()
    return made.getsockname()[1]

@pytest.mark.parametrize("n", range(3))
def test_whole(served, n):
    begin = time.monotonic()
    connect(served)
    assert time.monotonic() - begin > 0.04
    assert n != 2

@pytest.mark.shaper("loss:0%", fired=False)
def test_own(server, shaper):
    connect()
    assert shaper.policies == ("delay:20ms", "loss:0%")
    assert shaper.packets[0].held_ms >= 20

def test_readable(tmp_path):
    (tmp_path / "secret").touch(mode=0)
    assert os.access(tmp_path / "secret", os.R_OK) == (os.getuid() == 0)

def test_nothing_else():
    with pytest.raises(ConnectionRefusedError):
        connect(22)
"""


@pytest.mark.parametrize("options", [[], ["-p", "xdist", "-n2"]], ids=["alone", "xdist"])
def test_a_whole_suite_runs_inside(options: list[str], suite: Suite) -> None:
    done = suite(WHOLE, "--shaper", "delay:20ms", "--shaper-seed", "abc", *options)
    done.assert_outcomes(passed=5, failed=1)
    found = section(done.stdout.str(), r"test_whole.2.")
    assert found.startswith("policies: delay:20ms\nseed: abc\n")
    assert "pytest 'test_it.py::test_whole[2]' --shaper delay:20ms --shaper-seed abc" in found
    if options:
        assert "without pytest-xdist, it shows the packets" in found
    else:
        # The last packets of the test before may come first.
        assert re.search(r"\d\.\d ms  tcp/\d+ #\d original syn 1, 60 bytes, held \d\d\.\d ms by delay", found)
        assert re.search(r"python[\d.]*: connect", found)
    done.stdout.fnmatch_lines(["shaper: delay:20ms; seed abc", "*= shaper =*", "* packets, 0 of them dropped"])


def test_what_a_whole_suite_reports_at_its_end(suite: Suite) -> None:
    assert suite("def test_it(): pass", "--shaper-profile", "lte", "--shaper", "loss:1%").ret == 0
    done = suite("", "--shaper", "dely:1ms")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: shaper: there is no policy 'dely'*"])
    done = suite("", "--shaper", "loss:1%")
    done.stdout.fnmatch_lines(["loss touched nothing: no packet came"])


def test_an_ordinary_user(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = """
import os, pathlib, pytest, sys, tempfile
os.chdir(tempfile.mkdtemp())
pathlib.Path("test_it.py").write_text(sys.argv.pop(1))
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
sys.exit(pytest.main(["-p", "shaper", "-p", "no:cacheprovider", "--shaper", "delay:20ms", *sys.argv[1:]]))
"""
    for options in ([], ["-p", "xdist", "-n2"]):
        done = ordinary(sys.executable, "-c", code, SERVER + WHOLE, *options)
        assert "1 failed, 5 passed" in done.stdout, done.stdout + done.stderr
