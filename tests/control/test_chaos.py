"""The activities of the Chaos Toolkit extension, on a shaper that runs, and as the Chaos Toolkit finds them."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from chaoslib.activity import ensure_activity_is_valid
from chaoslib.experiment import ensure_experiment_is_valid, load_experiment

from shaper.chaos import actions, probes
from shaper.errors import ShaperError, UsageError
from tests.control.conftest import Running, Start, eventually

EXPERIMENTS = sorted((Path(__file__).parents[2] / "docs" / "chaos").glob("*.yaml"))


def test_actions_change_a_shaper_and_probes_ask_it(running: Running) -> None:
    name = running.listeners.name
    assert probes.is_running(name)
    assert actions.change("delay", {"time": "30ms"}, name)["options"]["time"] == "30ms"
    assert [stage["name"] for stage in actions.replace(["rate:1mbit"])] == ["rate"]
    assert actions.pause()["state"] == "paused"
    assert actions.resume()["state"] == "shaping"
    actions.release()
    assert eventually(probes.taken)
    counts = probes.counts(name)
    assert counts.keys() == {"taken", "sent", "held", "dropped", "injected", "bypassed"}
    assert probes.taken(name) >= counts["taken"] > 0
    assert probes.held(name) >= 0
    assert probes.bypassed(name) == 0
    assert probes.lateness_p99(name) >= 0


def test_a_scenario_leaves_its_last_phase(running: Running) -> None:
    phases: list[dict[str, object]] = [
        {"policies": ["delay:5ms"], "for": "20ms"},
        {"policies": ["loss:1%", "delay:1ms"]},
    ]
    assert [stage["name"] for stage in actions.scenario(phases)] == ["loss", "delay"]
    assert running.client.status()["policies"] == ["loss:1%", "delay:1ms"]


@pytest.mark.parametrize(
    "phases",
    [
        [{"policies": ["delay:1ms"]}, {"policies": ["delay:2ms"]}],
        [{"policies": ["delay:1ms"], "for": "1s"}],
        [{"for": "1s"}, {"policies": ["delay:2ms"]}],
        [{"policies": ["delay:1ms"], "for": "1s", "repeat": True}, {"policies": ["delay:2ms"]}],
    ],
)
def test_a_scenario_that_is_wrong_changes_nothing(phases: list[dict[str, object]], running: Running) -> None:
    with pytest.raises(UsageError, match="give 'policies', and 'for'"):
        actions.scenario(phases)
    assert running.client.status()["policies"] == ["delay:20ms", "loss:1%"]


def test_over_tcp_with_a_token(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a token that is long enough\n".replace(" ", "-"))
    (tmp_path / "token").chmod(0o600)
    url = start(listen="127.0.0.1:0", token_file=tmp_path / "token").url
    assert probes.counts(url, {"token": "a-token-that-is-long-enough"})["bypassed"] == 0
    with pytest.raises(ShaperError, match="token"):
        probes.counts(url, {"token": "another-one-that-is-wrong"})


def test_a_rollback_finds_nothing_to_stop() -> None:
    assert actions.stop("nobody") is None
    assert not probes.is_running("nobody")


def test_a_shaper_that_can_not_be_started_says_why() -> None:
    with pytest.raises(ShaperError, match="did you mean 'delay'"):
        actions.start("wrong", ["dealy:20ms"])


def test_options_become_those_of_the_command() -> None:
    options = {"interface": "eth0", "port": 443, "gso": True, "realtime": False, "host": ["10.0.0.1", "10.0.0.2"]}
    assert actions._arguments(options) == [
        "--interface=eth0", "--port=443", "--gso", "--host=10.0.0.1", "--host=10.0.0.2",
    ]  # fmt: skip
    assert actions._arguments({"max_hold": "5s", "seed": None}) == ["--max-hold=5s"]


def test_all_are_discovered(tmp_path: Path) -> None:
    found = tmp_path / "discovery.json"
    chaos = [str(Path(sys.executable).parent / "chaos"), "--no-version-check", "--log-file", str(tmp_path / "log")]
    command = [*chaos, "discover", "--no-install", "--discovery-path", str(found), "nfq-shaper"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    activities = {activity["name"]: activity for activity in json.loads(found.read_text())["activities"]}
    assert activities.keys() == {*actions.__all__, *probes.__all__}
    for name, activity in activities.items():
        function = getattr(actions if activity["type"] == "action" else probes, name)
        assert activity["doc"] == inspect.getdoc(function)
        assert [argument["name"] for argument in activity["arguments"]] == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_the_experiments_are_valid(path: Path) -> None:
    experiment = load_experiment(str(path))
    ensure_experiment_is_valid(experiment)
    for activity in (*experiment["method"], *experiment["rollbacks"]):
        ensure_activity_is_valid(activity)
