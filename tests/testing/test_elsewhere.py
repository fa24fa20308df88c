"""Where nothing can be shaped: tests are skipped with the reason, or fail with --shaper-strict."""

from __future__ import annotations

import sys

import pytest

from tests.testing.conftest import SERVER, Suite

TWO = """
@pytest.mark.shaper("delay:1ms", fired=False)
def test_shaped(): pass
def test_with_fixture(shaper_network): pass
def test_other(): pass
"""


def test_where_nothing_can_be_shaped(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "from shaper.network import host\n"
        "host.RUN = 'import sys; sys.modules[\"shaper.live.nfqueue.queue\"] = None\\n' + host.RUN\n"
    )
    done = suite(TWO, "-rs")
    done.assert_outcomes(passed=1, skipped=2)
    done.stdout.fnmatch_lines(
        ["SKIPPED * shaper: packets can't be shaped here: *shaper.live.nfqueue.queue*; `shaper doctor` says*"]
    )
    assert "Traceback" not in done.stdout.str() + done.stderr.str()
    suite("", "--shaper-strict").assert_outcomes(passed=1, errors=2)
    suite("", "--shaper", "delay:1ms").assert_outcomes(skipped=3)
    done = suite("", "--shaper", "delay:1ms", "--shaper-strict")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: shaper: packets can't be shaped here: *"])


def test_without_user_namespaces(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SERVER + TWO)
    off = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin "$@"'
    done = pytester.run(
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        off,
        "sh",
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "shaper",
        "-rs",
    )
    done.assert_outcomes(passed=1, skipped=2)
    done.stdout.fnmatch_lines(
        ["SKIPPED * shaper: user namespaces are switched off here; switch them on with `sudo sysctl*"]
    )
