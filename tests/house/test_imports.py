"""Imports between the rooms go one way, and the core stays pure."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each room imports itself and the rooms of the lines below, never one of its own line or above. A room is a folder;
# a file beside folders is in the room of the folder around it.
HOUSE = """
    __main__
    strategies
    cli
    cli.templates
    top chaos experiment.hunt experiment.compare
    experiment
    probe
    probe.explain
    probe.workloads
    probe.ends doctor control testing
    network
    topology
    trace live.front
    trace.analysis live
    trace.record live.guardian
    trace.read live.rules
    live.nfqueue places
    report replay check
    report.figure
    capture timeline
    journal spec.profiles
    spec
    core
    policy linux
    wire
    units errors verbose schemas policies iptables
"""
LEVELS = {room: level for level, line in enumerate(HOUSE.split("\n")) for room in line.split()}
PURE_ROOMS = {"core", "policy", "wire", "units", "errors"}
IMPURE = {"time", "socket", "select", "os", "subprocess", "threading", "asyncio", "trio", "scapy"}


def modules() -> dict[str, Path]:
    """All of shaper by module name."""
    folders = {"shaper": ROOT / "shaper", "shaper.policies": ROOT / "policies", "shaper.iptables": ROOT / "iptables"}
    found = {}
    for package, folder in folders.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """The room that a module belongs to; shaper itself, the policy author's vocabulary, has none."""
    parts = module.split(".")[1:]
    if MODULES[module].name != "__init__.py" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """What a file imports; unless lazy, without what its functions import and what is for types only."""

    def walk(node: ast.AST) -> Iterator[str]:
        if not lazy and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return walk(ast.parse(path.read_text()))


def is_pure(module: str) -> bool:
    return room(module) in PURE_ROOMS or module in ("shaper.spec.netem", "shaper.spec.lint")


def own(path: Path, *, lazy: bool = True) -> set[str]:
    """The modules of shaper that a file imports."""
    found = set()
    for name in imports(path, lazy=lazy):
        if name.partition(".")[0] == "shaper":
            module = name
            while module not in MODULES:
                module = module.rpartition(".")[0]
            found.add(module)
    return found


def test_every_room_is_in_the_list() -> None:
    rooms = {room(module) for module in MODULES} - {""}
    assert rooms == set(LEVELS)


@pytest.mark.parametrize("module", sorted(module for module in MODULES if room(module)))
def test_imports_go_one_way(module: str) -> None:
    if module.startswith("shaper.policies."):
        return
    here = room(module)
    for target in own(MODULES[module]):
        there = room(target)
        assert there in (here, "") or LEVELS[there] > LEVELS[here], f"{module} imports {target}, which is above it"


def test_imports_form_no_circle() -> None:
    graph = {module: own(path) - {module} for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_built_in_policies_import_only_shaper(path: Path) -> None:
    assert own(path) == {"shaper"}
    for name in imports(path):
        assert name.partition(".")[0] in {"shaper", *sys.stdlib_module_names} - IMPURE - {"random"}


@pytest.mark.parametrize(
    "module",
    sorted(filter(is_pure, MODULES)),
)
def test_the_core_does_no_io_and_reads_no_clock(module: str) -> None:
    for name in imports(MODULES[module]):
        top = name.partition(".")[0]
        if module == "shaper.wire.packet" and top == "scapy":
            continue  # .scapy() builds the layers on demand
        assert top not in IMPURE, f"{module} imports {name}"
        assert top != "random" or name == "random.Random", f"{module} uses chance that no seed decides: {name}"


def test_importing_shaper_loads_nothing_heavy() -> None:
    seen: set[str] = set()
    ahead = {"shaper"}
    while ahead:
        module = ahead.pop()
        seen.add(module)
        ahead |= own(MODULES[module], lazy=False) - seen
        assert not {name.partition(".")[0] for name in imports(MODULES[module], lazy=False)} & IMPURE
