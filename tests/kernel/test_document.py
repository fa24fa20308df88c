"""The file of `--json` holds a document at any time, however the run ends."""

import json
import os
import signal
from pathlib import Path

from tests.kernel.shaping import Receiver, Shaper
from tests.schema import schema


def test_the_file_of_json_always_holds_a_document(tmp_path: Path, receiver: Receiver) -> None:
    arguments = ("--policy", "delay:time=5s", "--protocol", "udp", "--watchdog", "300ms")
    with Shaper(tmp_path, *arguments) as shaper:
        early = json.loads((tmp_path / "summary.json").read_text())
        assert "killed before" in early["error"]
        receiver.send_numbers(1)
        os.kill(shaper.engine, signal.SIGSTOP)
        assert receiver.numbers(1) == [0]
        late = shaper.result()
    assert shaper.status == 1
    assert "no sign of life" in late["error"]
    for document in (early, late):
        schema("start").validate(document)
