"""The pytest plugin: tests in networks of their own, and what a failed one reports."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.linux import proc
from tests.testing.conftest import SERVER, Suite, section


def test_tests_run_as_they_always_do(suite: Suite, log: Path) -> None:
    done = suite(
        """
import logging

for scope in ("session", "package", "module", "class", "function"):
    def make(scope):
        def fixture():
            log(f"{scope} begins {os.getpid()}")
            yield os.getpid()
            log(f"{scope} ends {os.getpid()}")
        return pytest.fixture(fixture, scope=scope, name=f"of_{scope}")
    globals()[f"of_{scope}"] = make(scope)

@pytest.fixture(autouse=True)
def each(request):
    log(f"each {os.getpid()}")

def test_outside(of_session):
    assert of_session == os.getpid()

@pytest.mark.shaper("delay:20ms", seed=7)
class TestIt:
    @classmethod
    def setup_class(cls):
        cls.pid = os.getpid()

    def setup_method(self):
        self.own = os.getpid()

    @pytest.mark.parametrize("n", [1, 2])
    def test_fixtures(self, n, server, shaper, of_session, of_package, of_module, of_class, of_function):
        assert of_session == of_package == of_module == of_class == self.pid != os.getpid()
        assert of_function == self.own == os.getpid()
        begin = time.monotonic()
        connect()
        assert time.monotonic() - begin > 0.04
        assert shaper.seed == "7" and shaper.policies == ("delay:20ms",)
        shaper.expect(syn=1, synack=range(1, 2), dropped=0, handshake_ack=range(2), packets=range(2, 9))
        with pytest.raises(AssertionError, match="syn: 1, expected 2; the packets so far"):
            shaper.expect(syn=2)
        with pytest.raises(ValueError, match="there is no count 'sin'"):
            shaper.expect(sin=2)
        waited, = shaper.blocked("connect")
        assert 0.02 < waited.seconds < 5 and waited.pid == os.getpid()
        assert not shaper.blocked("accept4") and not shaper.blocked("connect", at_least=60)
        assert shaper.fired == {"delay": True}

    def test_changes(self, server, shaper):
        shaper.change("delay", time="60ms")
        connect()
        shaper.replace("loss:0%")
        connect()
        shaper.replace("delay:5s")
        held = connect_later()
        while not shaper.held:
            time.sleep(0.01)
        shaper.pause()
        shaper.release()
        held.join()
        shaper.resume()
        holds = [packet.held_ms for packet in shaper.packets.of("syn")]
        assert holds[0] >= 60 and holds[1] == 0

def connect_later():
    thread = threading.Thread(target=connect)
    thread.start()
    return thread

@pytest.mark.shaper("delay:1ms", fired=False)
def test_capsys(capsys, caplog, tmp_path, monkeypatch, record_property):
    print("out")
    assert capsys.readouterr().out == "out\\n"
    logging.warning("careful")
    assert "careful" in caplog.text
    (tmp_path / "file").write_text("text")
    monkeypatch.setenv("NEW", "1")
    record_property("key", "value")
    warnings.warn("take care")
    with pytest.raises(ZeroDivisionError):
        1 / 0
    with pytest.warns(UserWarning):
        warnings.warn("caught")

@pytest.mark.shaper(fired=False)
def test_capfd(capfd):
    os.system("echo program")
    assert capfd.readouterr().out == "program\\n"
    assert "NEW" not in os.environ

@getattr(pytest.mark, "xfail")
@pytest.mark.shaper("delay:1ms")
def test_xfail():
    assert 0

@pytest.mark.shaper("delay:1ms")
def test_skip():
    pytest.skip("because")

@pytest.mark.skip
@pytest.mark.shaper("delay:1ms")
def test_skipped():
    assert 0

class TestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pid = os.getpid()

    def setUp(self):
        self.server = socket.create_server(("127.0.0.1", 7000))
        self.addCleanup(self.server.close)

    @pytest.mark.shaper("delay:1ms")
    def test_it(self):
        assert self.pid != os.getpid()
        connect()

    @pytest.mark.shaper("delay:1ms")
    @unittest.skip("no")
    def test_skipped(self):
        assert 0

@pytest.mark.shaper_each("none", "delay:30ms", ("delay:10ms", "loss:0%"), profile="lte")
def test_each(server, shaper, shaper_condition):
    connect()
    log(f"condition {','.join(shaper.policies[:2])} {shaper.packets[0].held_ms > 5}")

@pytest.fixture(scope="session")
def web(shaper_network):
    shaper_network.start([sys.executable, "-m", "http.server", "-b", "127.0.0.1", "8000"], stderr=subprocess.DEVNULL)
    shaper_network.wait_for_port(8000)
    return 8000

@pytest.mark.shaper("delay:20ms")
def test_web(web, shaper):
    connect(web)
    assert shaper.packets.of("syn")[0].held_ms >= 20

def test_web_unshaped(web, shaper):
    connect(web)
    shaper.expect(syn=1, held=0)
    assert str(shaper.packets.of("syn")[0].name) == "tcp/8000 #1 original syn 1"
""",
        "-rA",
    )
    done.assert_outcomes(passed=13, skipped=3, xfailed=1, warnings=1)
    done.stdout.fnmatch_lines(["*UserWarning: take care"])
    lines = log.read_text().splitlines()
    for scope in ("session", "package", "module", "class"):
        (begins,) = [line for line in lines if line.startswith(f"{scope} begins")]
        assert (
            lines.count(begins.replace("begins", "ends"))
            == 1
            == sum(line.startswith(f"{scope} ends") for line in lines)
        )
    assert Counter(line.split()[0] for line in lines)["function"] == 4
    assert len({line for line in lines if line.startswith("each")}) == 16
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("condition")] == [
        "False", "delay:30ms True", "delay:10ms,loss:0% True", "True",
    ]  # fmt: skip


FAILING = """
@pytest.mark.shaper("drop_first:only=synack")
def test_login_survives_a_lost_synack(server):
    print("before")
    connect(timeout=0.3)

@pytest.mark.shaper("loss:50%,direction=original")
def test_lossy(server, shaper):
    for _ in range(4):
        try:
            connect(timeout=0.02)
        except TimeoutError:
            pass
    log(" ".join(packet.fate for packet in shaper.packets.of("syn")[:4]))
    assert 0

@pytest.mark.shaper("drop_first:only=icmp", "delay:1ms")
def test_not_fired(server):
    connect()

@pytest.mark.shaper("dely:3ms")
def test_no_policy():
    pass

@pytest.mark.shaper("delay:3ms", sed=4)
def test_no_keyword():
    pass

@pytest.mark.shaper("delay:3ms", fired=False)
def test_dies():
    os.kill(os.getpid(), signal.SIGSEGV)

@pytest.mark.shaper("delay:3ms", fired=False)
def test_exits():
    os._exit(3)

@pytest.mark.shaper("delay:3ms", fired=False)
def test_leaves():
    sys.exit(4)

@pytest.fixture
def bad_end():
    yield
    raise OSError("bad end")

@pytest.mark.shaper(fired=False)
def test_bad_end(bad_end):
    pass

@pytest.mark.shaper(fired=False)
def test_subtests(subtests):
    for n in range(3):
        with subtests.test(n=n):
            assert n != 1

@pytest.mark.shaper(fired=False)
def test_passes():
    pass
"""


def test_failures_say_what_the_network_did(suite: Suite, pytester: pytest.Pytester, log: Path) -> None:
    done = suite(FAILING, "--shaper-keep", "kept")
    text = done.stdout.str()
    done.assert_outcomes(failed=8, passed=2, errors=3)
    lost = section(text, "test_login_survives_a_lost_synack")
    assert re.search(r"python[\d.]*: poll [23]\d\d ms", lost)
    assert re.search(r"reply synack 1, 60 bytes, dropped by drop_first", lost)
    assert "policies: drop_first:only=synack\n" in lost
    assert Path("kept/test_it.py_test_login_survives_a_lost_synack.pcapng").stat().st_size > 100
    assert "dropped by drop_first" in Path("kept/test_it.py_test_login_survives_a_lost_synack.txt").read_text()
    assert '"dropped"' in Path("kept/test_it.py_test_login_survives_a_lost_synack.jsonl").read_text()
    assert not list(Path("kept").glob("*test_passes*"))
    done.stdout.fnmatch_lines_random(
        [
            "*drop_first has touched nothing: no packet matched only=icmp; with fired=False, that is no failure",
            "*there is no policy 'dely'*",
            "*the marker shaper has no option 'sed'; it has fired, profile, seed",
            "*the test's process ended by signal 11 (Segmentation fault)",
            "*the test's process ended with status 3",
            "*SystemExit: 4",
            "*OSError: bad end",
            "SUBFAILED* test_it.py::test_subtests*",
        ]
    )
    # The commands that it prints have the same packets lost again.
    again = suite("", *shlex.split(lost.rstrip().splitlines()[-1])[1:])
    again.assert_outcomes(failed=1)
    assert "reply synack 1, 60 bytes, dropped by drop_first" in section(
        again.stdout.str(), "test_login_survives_a_lost_synack"
    )
    command = section(text, "test_lossy").rstrip().splitlines()[-1].strip()
    assert command.startswith("pytest test_it.py::test_lossy --shaper-seed ")
    first = log.read_text()
    log.unlink()
    again = suite("", *shlex.split(command)[1:])
    again.assert_outcomes(failed=1)
    assert log.read_text() == first
    assert section(again.stdout.str(), "test_lossy").splitlines()[:2] == section(text, "test_lossy").splitlines()[:2]


def test_the_first_failure_ends_the_run(suite: Suite, log: Path) -> None:
    text = """
@pytest.fixture(scope="session", autouse=True)
def session():
    yield
    log("end of session")

@pytest.mark.shaper
@pytest.mark.parametrize("n", range(5))
def test_it(n):
    log(f"test {n}")
    assert n != 1
"""
    suite(text, "-x").assert_outcomes(failed=1, passed=1)
    assert log.read_text().splitlines() == ["test 0", "test 1", "end of session"]
    done = suite("", "-p", "xdist", "-n2", "--maxfail=1")
    assert done.parseoutcomes()["failed"] == 1


def test_plugins_work_as_always(suite: Suite, pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytest.importorskip("pytest_cov")
    pytest.importorskip("pytest_timeout")
    pytester.makepyfile(
        measured="""
def called(x):
    if x:
        return 1
    return 2

def never():
    return 3
"""
    )
    done = suite(
        """
import asyncio, trio
from measured import called

pytestmark = pytest.mark.shaper("delay:1ms")

@pytest.mark.asyncio
async def test_asyncio():
    called(0)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 7000)
    reader, writer = await asyncio.open_connection("127.0.0.1", 7000)
    assert await reader.read() == b""
    writer.close()
    server.close()

@pytest.mark.trio
async def test_trio(nursery):
    called(1)
    await nursery.start(trio.serve_tcp, lambda stream: stream.send_all(b"x"), 7000)
    stream = await trio.open_tcp_stream("127.0.0.1", 7000)
    assert await stream.receive_some() == b"x"
    nursery.cancel_scope.cancel()

@pytest.mark.timeout(1)
def test_hangs(server):
    client = connect()
    server.accept()[0].recv(1)

@pytest.mark.timeout(1)
@pytest.mark.shaper(fired=False)
def test_hangs_and_does_not_end():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)
""",
        *("-p", "asyncio", "-p", "trio", "-p", "timeout", "-p", "pytest_cov"),
        "--cov=measured",
        "--cov-report=term-missing",
    )
    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines_random(
        [
            ">       server.accept()[[]0[]].recv(1)",
            "*: recvfrom *",
            "*Timeout (>1.0s) from pytest-timeout.; the test's process did not end",
        ]
    )
    (line,) = [line for line in done.stdout.lines if line.startswith("measured.py")]
    assert line.split()[-1] == "7"  # the body of `never`


def test_an_interrupt_ends_all(suite: Suite, pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile(
        test_it=SERVER
        + """
@pytest.fixture(scope="session", autouse=True)
def session():
    yield
    log("end of session")

@pytest.fixture
def own():
    yield
    log("end of test")

@pytest.mark.shaper("delay:1ms")
def test_it(own, server):
    connect()
    program = subprocess.Popen(["sleep", "1000"])
    log(f"{os.getpid()} {program.pid} run")
    time.sleep(1000)
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "shaper"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    give_up = time.monotonic() + 30
    while not (log.exists() and "run" in log.read_text()) and time.monotonic() < give_up:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "KeyboardInterrupt" in said
    running, *rest = log.read_text().splitlines()
    assert rest == ["end of test", "end of session"]
    for pid in running.split()[:2]:
        with suppress(OSError):  # nobody may have waited for it yet
            assert proc.stat(int(pid)).has_ended


def test_other_suites_load_nothing_of_it(suite: Suite) -> None:
    text = """
def test_it():
    assert not [name for name in sys.modules if name.startswith(("shaper.network", "shaper.live", "rich", "scapy"))]
"""
    suite(text).assert_outcomes(passed=1)


def test_a_marked_test_costs_little(
    suite: Suite, count: Callable[[int], int], figure: Callable[[str, str], None]
) -> None:
    number = count(1000)
    text = f"@pytest.mark.shaper\\n@pytest.mark.parametrize('n', range({number}))\\ndef test_it(n): pass"
    done = suite(text.replace("\\n", "\n"))
    done.assert_outcomes(passed=number)
    each = done.duration / number
    figure("a test marked `shaper` that does nothing", f"{each * 1000:.0f} ms, of {number}")
    assert each < 3


def test_new_writes_tests_that_pass(
    suite: Suite, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "--test", "test_network.py"]) == 0
    assert capsys.readouterr().out == "wrote test_network.py\ntry it: pytest test_network.py\n"
    suite("").assert_outcomes(passed=5)
    assert main(["new", "--test", "test_network.py"]) == 2
    assert main(["new", "--test", "network.py"]) == 2
    assert "choose a name such as test_network.py" in capsys.readouterr().err
