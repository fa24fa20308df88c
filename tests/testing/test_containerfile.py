"""The image's files say what they must, and name no registry. That they work is tried with `podman build`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.commands import COMMANDS

FOLDER = Path(__file__).parents[2] / "contrib/container"
STEPS = [
    (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1])
    for line in re.sub(r"\\\n", "", (FOLDER / "Containerfile").read_text()).splitlines()
    if line and not line.startswith("#")
]


def test_the_image_is_built_on_what_the_user_names() -> None:
    assert [step for step in STEPS if step[0] in ("ARG", "FROM")] == [
        ("ARG", "BASE"),
        ("FROM", "${BASE} AS build"),
        ("FROM", "${BASE}"),
    ]
    for name in ("Containerfile", "compose.yaml"):
        assert not re.search(r"\b[\w.-]+\.(io|com|org|dev)/", (FOLDER / name).read_text())


def test_the_image_copies_what_the_package_needs() -> None:
    copied = [part for name, rest in STEPS if name == "COPY" and "--from" not in rest for part in rest.split()[:-1]]
    files = ["pyproject.toml", "setup.py", "README.md", "LICENSE", "release/requirements.txt"]
    assert copied == [*files, "shaper", "policies", "iptables"]
    assert all((FOLDER.parents[1] / part).exists() for part in copied)


def test_the_image_runs_shaper_as_an_ordinary_user() -> None:
    said = dict(STEPS)
    assert (said["USER"], json.loads(said["ENTRYPOINT"])) == ("shaper", ["shaper"])
    assert json.loads(said["HEALTHCHECK"].partition("CMD ")[2]) == ["shaper", "status"]


def test_the_example_has_commands_that_shaper_knows() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    sidecar = services["shaper"]
    assert sidecar["network_mode"] == "service:web"
    assert "web" in services
    assert set(sidecar["cap_add"]) == {"NET_ADMIN", "NET_RAW"}
    command, *words = sidecar["command"]
    with COMMANDS[command].make_context(command, words) as context:
        assert context.params["policy"] == ["delay:20ms"]
