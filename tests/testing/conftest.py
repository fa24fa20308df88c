"""Suites that are written and run for a test, in processes of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.conftest import network, ordinary

__all__ = ["network", "ordinary"]

Suite = Callable[..., pytest.RunResult]
SERVER = """
import contextlib, os, signal, socket, subprocess, sys, threading, time, unittest, warnings
import pytest

@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 7000)) as made:
        yield made

def connect(port=7000, timeout=None):
    return socket.create_connection(("127.0.0.1", port), timeout)

def log(line):
    with open(os.environ["LOG"], "a") as file:
        print(line, file=file)
"""
"""What the suites begin with."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the tests of a suite have written with `log`."""
    return tmp_path / "log"


@pytest.fixture
def suite(pytester: pytest.Pytester, namespaces: None, log: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Writes a suite, if there is a text, and runs it; returns its outcomes."""
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.delenv("CI", raising=False)
    # Those of the development environment take a second to load.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text: str, *options: str) -> pytest.RunResult:
        if text:
            pytester.makepyfile(test_it=SERVER + text)
        return pytester.runpytest_subprocess("-p", "shaper", "-p", "no:cacheprovider", *options)

    return run


def section(text: str, test: str) -> str:
    """What the report of this test says of its network."""
    found = re.search(rf"^_+ [\w. ]*{test} _+$.*?^-+ shaper -+\n(.*?)(?=^[_=]+ )", text, re.MULTILINE | re.DOTALL)
    assert found is not None, text
    return found[1]
