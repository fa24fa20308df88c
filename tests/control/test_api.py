"""The API as its clients see it."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shaper.control.app import EVENT_READERS
from shaper.errors import ShaperError, UsageError
from tests.control.conftest import Running, Start, eventually
from tests.control.front import Front


def ask(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of a response."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    content = None if body is None else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, content, {"Content-Type": "application/json", **named})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    is_json = response.headers.get_content_type().endswith("json")
    return response.status, dict(response.headers), json.loads(text) if is_json else text.decode()


def test_the_state_can_be_read(running: Running) -> None:
    client = running.client
    assert client.status()["state"] == "shaping"
    assert [stage["name"] for stage in client.pipeline()] == ["delay", "loss"]
    assert client.stage("delay")["options"]["time"] == "20ms"
    assert eventually(client.flows)
    assert len(client.flows(limit=1)) == 1


def test_an_option_is_changed(running: Running) -> None:
    assert running.client.set("delay", {"time": "50ms", "jitter": "1ms"})["options"]["time"] == "50ms"
    assert running.client.stage("delay")["options"]["jitter"] == "1ms"


def test_the_second_stage_of_a_name_is_changed(start: Start) -> None:
    client = start(Front(["delay:1ms", "delay:2ms"])).client
    client.set("delay#2", {"time": "3ms"})
    assert [stage["options"]["time"] for stage in client.pipeline()] == ["1ms", "3ms"]


def test_a_pipeline_is_replaced_as_a_whole_or_not_at_all(running: Running) -> None:
    client = running.client
    assert [stage["name"] for stage in client.replace(["rate:1mbit"])] == ["rate"]
    with pytest.raises(UsageError, match=r"there is no policy 'dely' \(did you mean 'delay'\?\)"):
        client.replace(["loss:1%", "dely:1ms"])
    assert client.status()["policies"] == ["rate:1mbit"]


def test_errors_are_the_command_lines(running: Running) -> None:
    client = running.client
    with pytest.raises(UsageError, match="there is no stage 'rate'; there is delay, loss"):
        client.set("rate", {"rate": "1mbit"})
    with pytest.raises(UsageError, match="there is no stage 'rate'; there is delay, loss"):
        client.stage("rate")
    with pytest.raises(UsageError, match="delay: option time: '50' needs a unit of time, such as 50ms"):
        client.set("delay", {"time": "50"})
    with pytest.raises(UsageError, match="limit: Input should be less than or equal to 1000"):
        client.flows(limit=1001)
    with pytest.raises(UsageError, match=r"policies\.0: String should match pattern"):
        client.replace(["delay\0"])


def test_an_error_is_a_problem_of_rfc_9457(over_tcp: Running) -> None:
    status, headers, answer = ask(over_tcp.url, "PATCH", "/v1/pipeline/delay", {"time": "50"})
    assert headers["content-type"] == "application/problem+json"
    assert (status, answer["status"], answer["title"]) == (422, 422, HTTPStatus(422).phrase)
    for method, path, expected in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/pipeline/nothing", 404),
        ("DELETE", "/v1/pipeline", 405),
        ("OPTIONS", "/v1/status", 405),
    ):
        status, headers, answer = ask(over_tcp.url, method, path)
        assert (status, answer["status"]) == (expected, expected)
        assert headers["content-type"] == "application/problem+json"
    status, _, answer = ask(over_tcp.url, "PATCH", "/v1/pipeline/delay", {}, Content_Type="text/plain")
    assert status == 415
    assert "curl --json" in answer["detail"]


def test_a_front_that_fails_is_no_end_of_the_server(over_tcp: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone() -> Any:
        raise ShaperError("an engine gives no answer")

    async def broken() -> Any:
        raise ZeroDivisionError("of its own")

    monkeypatch.setattr(over_tcp.front, "pipeline", gone)
    status, _, answer = ask(over_tcp.url, "GET", "/v1/pipeline")
    assert (status, answer["detail"]) == (503, "an engine gives no answer")
    monkeypatch.setattr(over_tcp.front, "pipeline", broken)
    status, _, answer = ask(over_tcp.url, "GET", "/v1/pipeline")
    assert (status, answer["detail"]) == (500, "ZeroDivisionError: of its own")
    assert ask(over_tcp.url, "GET", "/v1/status")[0] == 200


def test_it_pauses_and_goes_on(running: Running) -> None:
    assert running.client.pause()["state"] == "paused"
    assert running.client.resume()["state"] == "shaping"
    assert running.client.release()["state"] == "shaping"


def test_it_stops_after_it_has_answered(running: Running) -> None:
    client = running.client
    assert client.stop()["state"] == "stopping"
    assert eventually(lambda: not running.listeners.path.exists())
    with pytest.raises(ShaperError, match="shaper '0' can't be reached"):
        client.status()


def test_events_are_streamed(running: Running) -> None:
    client = running.client
    events = client.events(kinds=["change", "state"], packets_per_second=0)
    # The reader is there once its first event is asked for.
    threading.Timer(0.3, client.set, ("delay", {"time": "5ms"})).start()
    assert next(events)["data"] == {"what": "change", "stage": "delay", "options": {"time": "5ms"}}
    client.pause()
    assert next(events)["data"] == {"state": "paused"}
    events.close()
    assert eventually(lambda: running.front.readers == 0)


def test_a_reader_that_leaves_is_noticed_though_nothing_happens(start: Start) -> None:
    running = start(Front(rate=0))
    for _ in range(3 * EVENT_READERS):
        with running.connect() as reader:
            reader.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert reader.recv(15) == b"HTTP/1.1 200 OK"
        assert eventually(lambda: running.front.readers == 0)


def test_only_some_read_events_at_a_time(running: Running) -> None:
    readers = [running.connect() for _ in range(EVENT_READERS)]
    for reader in readers:
        reader.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reader.recv(15) == b"HTTP/1.1 200 OK"
    with pytest.raises(ShaperError, match="8 clients read events already"):
        next(running.client.events())
    assert running.client.status()["state"] == "shaping"
    for reader in readers:
        reader.close()


def test_events_end_with_shaper(running: Running) -> None:
    events = running.client.events()
    assert next(events)["kind"] == "packet"
    running.client.stop()
    assert all(event["kind"] == "packet" for event in events)


def test_the_metrics_are_those_of_prometheus(over_tcp: Running) -> None:
    running = over_tcp
    assert eventually(running.client.flows)
    families = {family.name: family for family in text_string_to_metric_families(running.client.metrics())}
    assert set(families) == {
        "shaper_packets", "shaper_held_packets", "shaper_hold_seconds", "shaper_lateness_seconds",
        "shaper_bypassed_packets", "shaper_lost_packets", "shaper_policy_failures", "shaper_build_info",
    }  # fmt: skip
    buckets = [sample for sample in families["shaper_lateness_seconds"].samples if sample.name.endswith("_bucket")]
    assert [sample.value for sample in buckets] == sorted(sample.value for sample in buckets)
    assert buckets[-1].labels == {"le": "+Inf"}
    _, headers, text = ask(over_tcp.url, "GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_the_document_describes_every_field(over_tcp: Running) -> None:
    document = ask(over_tcp.url, "GET", "/v1/openapi.json")[2]
    assert document["info"]["title"] == "shaper"
    for name, schema in document["components"]["schemas"].items():
        for field, description in schema["properties"].items():
            assert "description" in description, f"{name}.{field}"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}, path
