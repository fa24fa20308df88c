"""Requests made up from the OpenAPI document, sensible and not: each is answered, in time and as the document says."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from shaper.control.app import create_app
from shaper.spec.load import builtin_names
from tests.control.conftest import Start
from tests.control.front import Front

TIMEOUT = 10.0
"""Seconds for an answer."""
EVENTS = "/v1/events"
OPERATIONS = [
    (path, method)
    for path, methods in create_app(Front(), version="0", known=[]).openapi()["paths"].items()
    for method in methods
]
# SPECs that can be loaded, and some that can't.
schemathesis.openapi.format(
    "spec",
    st.sampled_from([*builtin_names(), "delay:5ms,jitter=1ms", "rate:1mbit | loss:1%", "delay:5", "dely"]) | st.text(),
)
few = settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))


class Endless(Front):
    """A front that can't be stopped by a client."""

    def stop(self) -> None:
        """Nothing."""


@pytest.fixture
def document(start: Start) -> BaseSchema:
    """The document of a running shaper."""
    running = start(Endless(), listen="127.0.0.1:0")
    return schemathesis.openapi.from_url(f"{running.url}/v1/openapi.json")


def answered(case: Case[Any]) -> None:
    # The document can't say which SPECs and options there are.
    case.call_and_validate(timeout=TIMEOUT, excluded_checks=[positive_data_acceptance])


@pytest.mark.parametrize(("path", "method"), [one for one in OPERATIONS if one[0] != EVENTS])
def test_each_request_is_answered(document: BaseSchema, path: str, method: str) -> None:
    few(given(case=document[path][method].as_strategy())(answered))()


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/pipeline", "put"), ("/v1/pipeline/{stage}", "patch"), ("/v1/flows", "get")]
)
def test_each_request_that_is_wrong_is_refused(document: BaseSchema, path: str, method: str) -> None:
    few(given(case=document[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE))(answered))()


def test_each_request_for_events_is_answered(document: BaseSchema) -> None:
    @few
    @given(case=document[EVENTS]["get"].as_strategy())
    def answered_at_once(case: Case[Any]) -> None:
        with requests.request(**case.as_transport_kwargs(), timeout=TIMEOUT, stream=True) as response:
            # Readers that have left are soon forgotten, but not at once.
            assert response.status_code in (200, 503)

    answered_at_once()
