"""The manifests in kubernetes/: valid by Kubernetes' own schemas, with no more privileges than shaper needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from shaper.places.file import read
from tests.commands import COMMANDS
from tests.kernel.test_places import LEAST

FOLDER = Path(__file__).parents[1] / "kubernetes"
# As in kubernetes-validate: whoever renews them takes what these five lead to.
SCHEMAS = json.loads((Path(__file__).parent / "data" / "kubernetes.json").read_text())
KINDS = {
    "DaemonSet": "io.k8s.api.apps.v1.DaemonSet",
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "Namespace": "io.k8s.api.core.v1.Namespace",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "Container": "io.k8s.api.core.v1.Container",
}
SIDECAR = ["NET_ADMIN", "NET_RAW"]


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return loaded


def faults(kind: str, content: object) -> list[str]:
    schema = {**SCHEMAS, "$ref": f"#/$defs/{KINDS[kind]}"}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(content)]


def with_sidecar() -> dict[str, Any]:
    """The example as kustomize makes it, as far as the sidecar adds lists that the Deployment lacks."""
    deployment, patch = load("example/shop.yaml"), load("sidecar/sidecar.yaml")
    deployment["spec"]["template"]["spec"] |= patch["spec"]["template"]["spec"]
    return deployment


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Those that run shaper."""
    yield "agent", load("agent/daemonset.yaml")["spec"]["template"]["spec"]["containers"][0]
    yield "sidecar", load("sidecar/sidecar.yaml")["spec"]["template"]["spec"]["initContainers"][0]
    yield "debug", {"name": "debugger", **load("debug/container.yaml")}


@pytest.mark.parametrize("name", ["agent/namespace.yaml", "agent/daemonset.yaml", "example/shop.yaml"])
def test_a_manifest_is_valid(name: str) -> None:
    manifest = load(name)
    assert faults(manifest["kind"], manifest) == []


def test_with_the_sidecar_it_is_still_valid() -> None:
    assert faults("Deployment", with_sidecar()) == []


def test_what_is_wrong_would_be_seen() -> None:
    daemonset = load("agent/daemonset.yaml")
    daemonset["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capability"] = {}
    assert len(faults("DaemonSet", daemonset)) == 1


@pytest.mark.parametrize(("name", "container"), list(containers()), ids=lambda it: it if isinstance(it, str) else "")
def test_each_has_the_least_privileges(name: str, container: dict[str, Any]) -> None:
    assert faults("Container", container) == []
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": list(LEAST) if name == "agent" else SIDECAR}
    assert not context.get("privileged")
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    # With SYS_ADMIN, Kubernetes takes it for true.
    assert context.get("allowPrivilegeEscalation") is (None if name == "agent" else False)
    if name != "debug":
        assert context["readOnlyRootFilesystem"]


def test_volumes_and_their_mounts_belong_together() -> None:
    for manifest in (load("agent/daemonset.yaml"), with_sidecar()):
        pod = manifest["spec"]["template"]["spec"]
        every = [*pod["containers"], *pod.get("initContainers", [])]
        mounted = {mount["name"] for container in every for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert manifest["spec"]["selector"]["matchLabels"] == manifest["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/kustomization.yaml")), ids=lambda path: path.parent.name)
def test_a_kustomization_names_files_that_there_are(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    named = [
        *content.get("resources", []),
        *content.get("components", []),
        *(patch["path"] for patch in content.get("patches", [])),
        *(file for each in content.get("configMapGenerator", []) for file in each["files"]),
    ]
    assert named
    assert all((path.parent / name).exists() for name in named)


def test_the_commands_are_shaper_s() -> None:
    agent, sidecar, _ = (container for _, container in containers())
    (mount,) = [mount for mount in agent["volumeMounts"] if mount["name"] == "shaping"]
    assert agent["command"] == ["shaper", "up", f"{mount['mountPath']}/shaping.toml"]
    (shop,) = read(str(FOLDER / "agent" / "shaping.toml"))
    assert shop.pods is not None
    options = {name for parameter in COMMANDS["start"].params for name in parameter.opts}
    program, command, *arguments = sidecar["command"]
    assert (program, command) == ("shaper", "start")
    assert {argument.partition("=")[0] for argument in arguments} <= options
