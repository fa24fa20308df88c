"""`shaper check` and `shaper new`: a policy before it meets real traffic."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shaper.check.examine import examine, traffic
from shaper.cli import main
from shaper.spec.load import builtin_names


def write(folder: Path, body: str, doc: str = "") -> str:
    file = folder / "mine.py"
    file.write_text(f'from shaper import *\n\nclass Mine(Policy):\n    """Mine.{doc}"""\n{body}')
    return str(file)


@pytest.mark.parametrize("name", builtin_names())
def test_built_in_policies_have_nothing_to_fix(name: str) -> None:
    found = examine(name, 3000)
    assert found.ok, found
    assert found.packets == 3000
    assert found.stories


def test_a_forgotten_packet_is_found(tmp_path: Path) -> None:
    body = "    def on_packet(self, packet, now):\n        return Hold(packet) if packet.id == 7 else None\n"
    assert examine(write(tmp_path, body), 100).forgotten == 1


def test_fates_that_differ_are_found(tmp_path: Path) -> None:
    body = "    def on_packet(self, packet, now):\n        return Send(packet, at=now + time.perf_counter_ns() % ms)\n"
    file = Path(write(tmp_path, body))
    file.write_text(f"import time\n{file.read_text()}")
    assert examine(str(file), 100).differs is not None


def test_clock_chance_and_io_are_found(tmp_path: Path) -> None:
    body = "    def on_packet(self, packet, now):\n        import random\n        open('/dev/null').close()\n"
    assert [line.partition(":")[0] for line in examine(write(tmp_path, body), 10).impure] == [
        "line 6 imports random",
        "line 7 calls open()",
    ]


def test_io_is_found_wherever_it_is_done(tmp_path: Path) -> None:
    body = "    def on_packet(self, packet, now):\n        Path('/dev/null').read_text()\n"
    file = Path(write(tmp_path, body))
    file.write_text(f"from pathlib import Path\n{file.read_text()}")
    assert examine(str(file), 10).impure == ("line 7 did open: a policy does no I/O",)


def test_state_that_outlives_a_run_is_found(tmp_path: Path) -> None:
    body = "    def on_packet(self, packet, now):\n        ids.append(0)\n        return Send(packet, now + len(ids))\n"
    found = examine(write(tmp_path, f"{body}\nids = []\n"), 100)
    assert found.differs is not None
    assert (found.otherwise, found.forgotten, found.failure, found.impure) == ((), 0, None, ())
    assert not found.ok


def test_a_difference_in_the_first_packet_alone_is_found(tmp_path: Path) -> None:
    body = "    def start(self):\n        begun.append(0)\n\n    def on_packet(self, packet, now):\n"
    body += "        return Send(packet, now + len(begun)) if packet.id == 1 else None\n"
    found = examine(write(tmp_path, f"{body}\nbegun = []\n"), 100)
    assert (found.differs, found.ok) == (1, False)


@pytest.mark.parametrize(
    ("answer", "differs"),
    [
        # The first packet made, the third, one that the second run alone makes, and one that it alone doesn't make.
        ("[Send(packet), Send(packet, now + len(begun))] if packet.id == 7 else None", -1),
        ("[Send(packet)] * (1 + (packet.id in (1, 2, 4))) if packet.id != 4 or len(begun) == 1 else None", -3),
        ("[Send(packet)] * len(begun) if packet.id == 7 else None", -1),
        ("[Send(packet)] * (3 - len(begun)) if packet.id == 7 else None", -1),
    ],
)
def test_a_difference_in_packets_that_the_policy_made_is_found(tmp_path: Path, answer: str, differs: int) -> None:
    body = "    scope = 'queue'\n\n    def start(self):\n        begun.append(0)\n\n"
    body += f"    def on_packet(self, packet, now):\n        return {answer}\n\nbegun = []\n"
    found = examine(write(tmp_path, body), 100)
    assert (found.failure, found.differs, found.ok) == (None, differs, False)


def test_a_difference_in_order_alone_is_found(tmp_path: Path) -> None:
    body = "    scope = 'queue'\n\n    def start(self):\n        begun.append(0)\n        self._held = []\n\n"
    body += "    def on_packet(self, packet, now):\n        self._held.append(packet)\n"
    body += "        return [Hold(packet), Wake(now + s)]\n\n    def on_wake(self, now):\n"
    body += "        held, self._held = self._held, []\n        return map(Send, held[:: 3 - 2 * len(begun)])\n\n"
    body += "begun = []\n"
    found = examine(write(tmp_path, body), 100)
    assert (found.failure, found.differs, found.ok) == (None, 1, False)


def test_a_failure_in_the_second_run_alone_is_found(tmp_path: Path) -> None:
    body = "    def start(self):\n        begun.append(0)\n\n    def on_packet(self, packet, now):\n"
    body += "        assert packet.id > 1 or len(begun) == 1\n\nbegun = []\n"
    found = examine(write(tmp_path, body), 100)
    assert found.failure is not None
    assert found.failure.endswith("mine.py:9: AssertionError")
    assert not found.ok


def test_io_that_is_done_once_is_found(tmp_path: Path) -> None:
    """A cache that the stories or the first run have filled hides nothing."""
    doc = "\n\n    # mine\n    +0  < a\n    +0  > a\n    "
    body = "    def on_packet(self, packet, now):\n        table()\n\n"
    body += "@cache\ndef table():\n    return Path('/dev/null').read_text()\n"
    file = Path(write(tmp_path, body, doc))
    file.write_text(f"from functools import cache\nfrom pathlib import Path\n{file.read_text()}")
    found = examine(str(file), 10)
    assert (found.stories, found.otherwise) == (1, ())
    assert [use.partition(" did ")[2] for use in found.impure] == ["open: a policy does no I/O"]


def test_scapy_is_no_io_and_accepts_any_packet(tmp_path: Path) -> None:
    assert examine(write(tmp_path, "    def on_packet(self, packet, now):\n        packet.scapy()\n"), 300).ok


def test_a_story_with_another_outcome_is_shown(tmp_path: Path) -> None:
    doc = "\n\n    # mine\n    +0  < a\n    +1  > a\n    "
    found = examine(write(tmp_path, "", doc), 10)
    assert found.stories == 1
    assert "- +1       > a" in found.otherwise[0]


def test_a_failure_is_reported_with_its_line(tmp_path: Path) -> None:
    found = examine(write(tmp_path, "    def on_packet(self, packet, now):\n        return 1 / 0\n"), 10)
    assert found.failure is not None
    assert "mine.py:6: ZeroDivisionError" in found.failure


def test_generated_traffic_is_the_same_for_the_same_seed() -> None:
    first, second = ([(packet.raw, packet.arrived) for packet in traffic(500, seed=3)] for _ in range(2))
    assert first == second
    assert first != [(packet.raw, packet.arrived) for packet in traffic(500, seed=4)]


def test_new_writes_a_policy_that_passes_its_own_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "later_on.py"
    assert main(["new", str(file)]) == 0
    assert main(["check", str(file), "--packets", "500", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["ok"] is True
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(("name", "says"), [("my policy.py", "can't name a policy"), ("later.txt", "can't name")])
def test_new_refuses_an_invalid_name(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", name]) == 2
    assert says in capsys.readouterr().err


def test_new_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("precious")
    assert main(["new", str(file)]) == 2
    assert file.read_text() == "precious"
    assert "exists already" in capsys.readouterr().err
