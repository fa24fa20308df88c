"""Whether a policy depends on its packets and their times alone: no clock, no chance of its own, no I/O.

Seen in two ways: by what its file imports and calls, and by what Python says it does while
it runs (sys.addaudithook; "Audit events table" in Python's documentation).
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
    "os": f"{NO_IO}, and takes chance from `self.random`",
    "socket": f"{NO_IO}; return Send of a new Packet to inject one",
    "subprocess": NO_IO,
    "logging": f"{NO_IO}; `self.tally` counts, and the journal tells of each packet",
    "threading": "the core calls one hook at a time; return Wake to be called again",
    "asyncio": "the core calls one hook at a time; return Wake, or write a Script",
    "trio": "the core calls one hook at a time; return Wake, or write a Script",
}
CALLS = dict.fromkeys(("open", "input", "print"), NO_IO)
EVENTS = ("open", "socket.", "subprocess.", "os.", "shutil.", "time.sleep")
"""What Python tells of that no policy should do: these events, and those that begin so."""


def impurities(policy: type[Policy]) -> dict[int, str]:
    """Imports and calls in its file by which it would depend on more, by their lines."""
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
    """Notes what a policy does outside of itself while this is entered.

    Attributes:
        seen: what, by its line.
    """

    def __init__(self, policy: type[Policy]) -> None:
        self.seen: dict[int, str] = {}
        self._file = inspect.getsourcefile(policy)
        self._looks = False

    def __enter__(self) -> Self:
        # There is no way to take a hook away again.
        sys.addaudithook(self._hear)
        self._looks = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._looks = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._looks or not event.startswith(EVENTS):
            return
        frame = inspect.currentframe()
        while frame is not None:
            file, line = frame.f_code.co_filename, frame.f_lineno
            if file.startswith("<frozen importlib"):
                return  # Python reads a module, such as scapy's, which is imported when it is needed
            if file == self._file:
                self.seen[line] = f"did {event}: {NO_IO}"
                return
            frame = frame.f_back
