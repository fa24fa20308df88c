"""The HTTP API of a running shaper, and its page. Everything is asked of the front; nothing is kept here."""

from __future__ import annotations

from dataclasses import asdict, replace
from http import HTTPStatus
from typing import Annotated, Any, Literal

import trio
from fastapi import Body, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, with_config
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from shaper.control import page
from shaper.control.access import check_options, check_specs, restriction
from shaper.control.events import JSON_LINES, EventStream
from shaper.control.metrics import exposition
from shaper.control.problem import MEDIA_TYPE, Problem, problem
from shaper.errors import ShaperError, UsageError
from shaper.live.state import Controlled, Flow, Latency, NoSuchStage, Stage, Status

EVENT_READERS = 8
"""Clients that read events at the same time."""
TOO_MANY_READERS = f"{EVENT_READERS} clients read events already; try again when one has ended"

Text = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line."""
Spec = Annotated[Text, Field(json_schema_extra={"format": "spec"})]
StageName = Annotated[str, Path(description="The name of a stage, such as `delay` or `delay%232`.")]
EventKind = Literal["packet", "change", "warning", "failure", "state"]


for _shown in (Stage, Latency, Status, Flow):
    # Their fields' docstrings become the descriptions of the OpenAPI document.
    with_config(ConfigDict(use_attribute_docstrings=True))(_shown)


class Pipeline(BaseModel):
    """A whole pipeline, as it is given at the start."""

    model_config = ConfigDict(extra="forbid")

    policies: list[Spec] = Field(description="A SPEC for each policy, in order.", max_length=64)


class Api(FastAPI):
    """FastAPI, with the media type of errors set right in the OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """The document."""
        is_new = self.openapi_schema is None
        document = super().openapi()
        if is_new:
            for methods in document["paths"].values():
                for operation in methods.values():
                    errors = operation["responses"]["default"]
                    errors["content"] = {MEDIA_TYPE: errors["content"].popitem()[1]}
        return document


def create_app(front: Controlled, *, version: str, known: list[str]) -> FastAPI:
    """The API of one shaper.

    Args:
        front: the shaper.
        version: its version.
        known: the SPECs that it was started with; everybody who may change the pipeline may load these.
    """
    app = Api(
        title="shaper",
        version=version,
        description="A running packet shaper: what it does, and changes while it runs.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        responses={"default": {"model": Problem, "description": "What is wrong, see RFC 9457."}},
    )
    readers = trio.Semaphore(EVENT_READERS)

    @app.get("/v1/status")
    async def read_status() -> Status:
        """What the shaper is doing."""
        return await front.status()

    @app.get("/v1/pipeline")
    async def read_pipeline() -> list[Stage]:
        """The stages, in order, with all options and what each has done so far."""
        return await front.pipeline()

    @app.put("/v1/pipeline")
    async def replace_pipeline(request: Request, pipeline: Pipeline) -> list[Stage]:
        """Replace the pipeline: packets taken from now on meet these policies. If one is wrong, nothing changes."""
        if why := restriction(request.scope):
            check_specs(pipeline.policies, known, why)
        return await front.replace(pipeline.policies)

    @app.get("/v1/pipeline/{stage}")
    async def read_stage(stage: StageName) -> Stage:
        """One stage."""
        stages = await front.pipeline()
        for one in stages:
            if one.name == stage:
                return one
        raise NoSuchStage(f"there is no stage '{stage}'; there is {', '.join(one.name for one in stages)}")

    @app.patch("/v1/pipeline/{stage}")
    async def change_stage(
        request: Request,
        stage: StageName,
        options: Annotated[
            dict[str, Text], Body(description="Options with their new values.", examples=[{"time": "50ms"}])
        ],
    ) -> Stage:
        """Change options of one stage, all of them or none; packets taken from now on meet the new values."""
        if why := restriction(request.scope):
            check_options(options, why)
        return await front.change(stage, options)

    @app.post("/v1/pause")
    async def pause() -> Status:
        """Let what comes pass at once, behind what is held of its flow."""
        return await front.pause()

    @app.post("/v1/resume")
    async def resume() -> Status:
        """Shape again."""
        return await front.resume()

    @app.post("/v1/release")
    async def release() -> Status:
        """Send all held packets on now, in order of arrival."""
        return await front.release()

    @app.post("/v1/stop", status_code=HTTPStatus.ACCEPTED, response_model=Status)
    async def stop() -> Response:
        """End shaper: held packets go on, and the rules are removed."""

        async def end() -> None:
            front.stop()

        state = replace(await front.status(), state="stopping")
        return JSONResponse(asdict(state), HTTPStatus.ACCEPTED, background=BackgroundTask(end))

    @app.get("/v1/flows")
    async def read_flows(
        limit: Annotated[int, Query(ge=1, le=1000, description="At most this many.")] = 100,
    ) -> list[Flow]:
        """The flows: those with the most held packets first, then those with the most packets."""
        return await front.flows(limit)

    @app.get("/v1/events", response_class=Response, responses={200: {"content": {JSON_LINES: {}}}})
    async def read_events(
        kind: Annotated[list[EventKind] | None, Query(description="Only these kinds.")] = None,
        packets_per_second: Annotated[int, Query(ge=0, le=1000, description="Show this many packets at most.")] = 100,
    ) -> Response:
        """What happens from now on, a JSON object on each line. A client that reads slowly misses events."""
        if not readers.value:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY_READERS)
        return EventStream(front.events(packets_per_second=packets_per_second), kind or (), readers)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def read_metrics(request: Request) -> Response:
        """The state for Prometheus."""
        content, media_type = exposition(await front.meters(), version, request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    @app.get("/", response_class=HTMLResponse)
    async def read_page() -> Response:
        """A page that shows all of this, and changes it."""
        return HTMLResponse(page.TEXT, headers=page.HEADERS)

    app.add_exception_handler(ShaperError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_unknown)
    app.add_exception_handler(Exception, _admit)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """What the front can't do."""
    if isinstance(error, NoSuchStage):
        return problem(HTTPStatus.NOT_FOUND, str(error))
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY if isinstance(error, UsageError) else HTTPStatus.SERVICE_UNAVAILABLE, str(error)
    )


async def _refuse_invalid(request: Request, error: Exception) -> Response:
    """What the schema doesn't allow."""
    assert isinstance(error, RequestValidationError)
    media_type = request.headers.get("content-type", "")
    if request.method in ("PUT", "PATCH") and not media_type.startswith("application/json"):
        detail = "send JSON, with `Content-Type: application/json`; `curl --json` does"
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"][1:])
        lines.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(lines))


async def _refuse_unknown(request: Request, error: Exception) -> Response:
    """A path or a method that there isn't."""
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail}; /v1/openapi.json says what there is"
    return problem(error.status_code, detail, dict(error.headers or {}))


async def _admit(request: Request, error: Exception) -> Response:
    """An error of shaper's own."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
