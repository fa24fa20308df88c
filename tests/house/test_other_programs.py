"""What the documents give to other programs exists: files, modules, extras, names of containers, commands of ./dev.

Those that can be run here are, in test_docs.py. What is quoted from a file is as the file has it.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import shaper.chaos.actions
from tests.house.test_command_lines import FENCE, SPAN, WRAPPER, lines, split
from tests.house.test_docs import MARKS, PAGES, ROOT, blocks, names

DEV = re.findall(r"^    ([a-z]+)\)$", (ROOT / "dev").read_text(), re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
AGENT = yaml.safe_load((ROOT / "kubernetes/agent/daemonset.yaml").read_text())
NAMESPACE = yaml.safe_load((ROOT / "kubernetes/agent/namespace.yaml").read_text())["metadata"]["name"]
SHOP = yaml.safe_load((ROOT / "kubernetes/example/shop.yaml").read_text())
SIDECAR = yaml.safe_load((ROOT / "kubernetes/sidecar/sidecar.yaml").read_text())
OTHERS = {
    "shaper": "is in test_command_lines.py",
    "/opt/shaper/bin/shaper": "the same",
    "apt": "needs an index of packages",
    "dask": "runs in tests/kernel/test_cluster.py",
    "perf": "is read in tests/trace",
    "trace-cmd": "is read in tests/trace",
    "lttng": "is read in tests/trace",
    "tshark": "shows what tests/test_capture.py reads",
    "openssl": "makes a token",
    "tee": "writes to /etc",
    "chown": "the same",
    "chmod": "the same",
}
"""Programs whose arguments say nothing about this project, and why they aren't run."""


def programs(page: Path) -> Iterator[list[str]]:
    """What the unmarked blocks of a page, and its sentences, run."""
    text = page.read_text()
    spans = SPAN.findall(FENCE.sub("", text))
    run = (span for span in spans if re.match(r"\./dev \w|python3? -m|pipx? (install|download)", span))
    for line in (*lines(text, only_unmarked=True), *run):
        for command in split(line):
            while command and (command[0] in WRAPPER or re.match(r"\w+=", command[0])):
                command = command[1:]
            if command:
                yield command


def requirements(words: list[str]) -> None:
    for word in words:
        if not word.startswith(("-", ".")):
            requirement = Requirement(word)
            assert requirement.name == PROJECT["name"]
            assert requirement.extras <= set(PROJECT["optional-dependencies"])


def options_of_pytest(words: list[str]) -> None:
    known = set(re.findall(r'"(--shaper[\w-]*)"', (ROOT / "shaper/testing/plugin.py").read_text()))
    assert {word for word in words if word.startswith("--shaper")} <= known


def names_in_kubernetes(words: list[str]) -> None:
    match words:
        case ["apply", "--kustomize", folder]:
            assert (ROOT / folder / "kustomization.yaml").exists()
        case ["exec", where, "-c", container, "--", *_]:
            assert where == f"deploy/{SHOP['metadata']['name']}"
            assert container in [each["name"] for each in SIDECAR["spec"]["template"]["spec"]["initContainers"]]
        case ["-n", namespace, "exec" | "logs", where, *_]:
            assert (namespace, where) == (NAMESPACE, f"ds/{AGENT['metadata']['name']}")
        case ["debug", *_]:
            assert f"--image=shaper:{PROJECT['version']}" in words
        case _:
            raise AssertionError(f"kubectl {' '.join(words)}")


@names(PAGES)
def test_it_exists(document: Path) -> None:
    files = {block.mark for block in blocks(document) if block.mark not in MARKS}
    for command in programs(document):
        match command:
            case ["./dev", name, *_]:
                assert name in DEV
            case ["pip" | "pipx", "install" | "download", *words]:
                requirements([word for word in words if word != "."])
            case ["python" | "python3", "-m", module, *_]:
                assert find_spec(module) is not None
            case ["python" | "python3", file, *_]:
                assert file in files or (ROOT / "docs" / document.stem / file).exists()
            case ["chaos", "run", file]:
                assert (ROOT / "docs" / document.stem / file).exists()
            case ["pytest", *words]:
                options_of_pytest(words)
            case ["podman", "build", *words]:
                assert (ROOT / words[words.index("-f") + 1]).exists()
            case ["podman", "run", *words]:
                assert words[words.index("shaper") + 1] == "start"
            case ["kubectl", *words]:
                names_in_kubernetes(words)
            case [program, *_]:
                assert program in OTHERS, command


@names([page for page in PAGES if "```python" in page.read_text()])
def test_its_python_can_be_compiled_and_imports_what_there_is(document: Path) -> None:
    for language, mark, text in FENCE.findall(document.read_text()):
        if language != "python":
            continue
        source = inspect.cleandoc(text)
        compile(source, mark or document.name, "exec")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("shaper"):
                assert all(hasattr(import_module(node.module), alias.name) for alias in node.names), mark


def block(page: str, language: str, at: int = 0) -> str:
    """A block of a page in docs/, of those without a mark."""
    found: list[tuple[str, str, str]] = FENCE.findall((ROOT / "docs" / page).read_text())
    return [text for kind, mark, text in found if (kind, mark) == (language, "")][at]


def test_the_stories_are_checked_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(block("timelines.md", "python"))


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(contains(whole.get(key), value) for key, value in part.items())
    return bool(whole == part)


def test_excerpts_are_as_in_the_files(tmp_path: Path) -> None:
    late = yaml.safe_load((ROOT / "docs/chaos/late.yaml").read_text())
    assert contains(late, yaml.safe_load(block("chaos.md", "yaml")))
    agent = ROOT / "kubernetes/agent/shaping.toml"
    assert tomllib.loads(block("kubernetes.md", "toml")) == tomllib.loads(agent.read_text())
    example = (ROOT / "kubernetes/example/kustomization.yaml").read_text().replace("../", "path/to/kubernetes/")
    assert contains(yaml.safe_load(example), yaml.safe_load(block("kubernetes.md", "yaml")))


def test_a_change_by_a_token_has_the_arguments_of_its_action() -> None:
    (action,) = yaml.safe_load(block("chaos.md", "yaml", 1))["method"]
    provider = action["provider"]
    assert provider["module"] == shaper.chaos.actions.__name__
    signature = inspect.signature(getattr(shaper.chaos.actions, provider["func"]))
    signature.bind(**provider["arguments"], secrets=provider["secrets"])


def test_prometheus_asks_where_shaper_listens() -> None:
    (job,) = yaml.safe_load(block("control.md", "yaml"))["scrape_configs"]
    start = block("control.md", "sh")
    assert f"--listen {job['static_configs'][0]['targets'][0]}" in start
    assert f"--token-file {job['authorization']['credentials_file']}" in start
