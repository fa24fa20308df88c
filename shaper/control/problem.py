"""Errors as the API tells them: RFC 9457, with the line that the command line would print."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from shaper.report.table import printable

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """An error, see RFC 9457."""

    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong and what to do, in one line.")


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as a response."""
    content = Problem(title=HTTPStatus(status).phrase, status=status, detail=printable(detail))
    return JSONResponse(content.model_dump(), status, headers, media_type=MEDIA_TYPE)
