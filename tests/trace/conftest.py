"""Programs traced by the real kernel; each test needs tracefs, and so root."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shaper.trace.record.tracefs import obstacle
from tests.schema import schema

Document = dict[str, Any]
Shaper = Callable[..., Document]

MAIN = "import sys; from shaper.cli import main; sys.exit(main())"


@pytest.fixture
def tracer() -> None:
    why = obstacle()
    if why is not None:
        pytest.skip(why)


@pytest.fixture
def shaper(tracer: None, tmp_path: Path) -> Shaper:
    """Runs a shaper command, which must succeed; returns its JSON document."""

    def run(*arguments: str | Path, status: int = 0) -> Document:
        document = tmp_path / "document.json"
        command, *rest = map(str, arguments)
        line = [sys.executable, "-c", MAIN, command, f"--json={document}", *rest]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        result: Document = json.loads(document.read_text())
        schema("report").validate(result.get("trace", result))
        return result

    return run
