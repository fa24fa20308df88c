"""Whether a policy depends only on its packets and their times: no clock, no randomness of its own, no I/O.

Found in two ways: from what its file imports and calls, and from Python's audit events
while it runs (sys.addaudithook; "Audit events table" in Python's documentation).
"""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shaper.policy.base import Policy

NO_IO = "a policy does no I/O"
IMPORTS = {
    "time": "use `now`, which every hook is given",
    "datetime": "use `now`, which every hook is given",
    "random": "use `self.random`, which the seed decides",
    "secrets": "use `self.random`, which the seed decides",
    "uuid": "use `self.random`, which the seed decides",
    "os": f"{NO_IO}, and takes randomness from `self.random`",
    "socket": f"{NO_IO}; return Send of a new Packet to inject one",
    "subprocess": NO_IO,
    "logging": f"{NO_IO}; count with `self.tally`, and see the journal for each packet",
    "threading": "the core calls one hook at a time; return Wake to be called again",
    "asyncio": "the core calls one hook at a time; return Wake, or write a Script",
    "trio": "the core calls one hook at a time; return Wake, or write a Script",
}
CALLS = dict.fromkeys(("open", "input", "print"), NO_IO)
EVENTS = ("open", "socket.", "subprocess.", "os.", "shutil.", "time.sleep")
"""Audit events that no policy should cause; each stands for all events that begin with it."""


def impurities(policy: type[Policy]) -> dict[int, str]:
    """Imports and calls in the policy's file that it should not have: line number -> what it is, and what to do."""
    try:
        tree = ast.parse(Path(inspect.getsourcefile(policy) or "").read_text())
    except (OSError, TypeError):
        return {}
    found = {}
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found[node.lineno] = f"calls {node.func.id}(): {CALLS[node.func.id]}"
        for top in (module.partition(".")[0] for module in modules):
            if top in IMPORTS and isinstance(node, ast.stmt):
                found[node.lineno] = f"imports {top}: {IMPORTS[top]}"
    return found


class Witness:
    """While entered, notes the audit events that a policy's file causes.

    Attributes:
        seen: line number -> what it did.
    """

    def __init__(self, policy: type[Policy]) -> None:
        self.seen: dict[int, str] = {}
        self._file = inspect.getsourcefile(policy)
        self._is_entered = False

    def __enter__(self) -> Self:
        # A hook can't be removed again.
        sys.addaudithook(self._hear)
        self._is_entered = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_entered = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_entered or not event.startswith(EVENTS):
            return
        frame = inspect.currentframe()
        while frame is not None:
            file, line = frame.f_code.co_filename, frame.f_lineno
            if file.startswith("<frozen importlib"):
                return  # Python reads a module, such as one of scapy's, that is imported when it is needed
            if file == self._file:
                self.seen[line] = f"did {event}: {NO_IO}"
                return
            frame = frame.f_back
