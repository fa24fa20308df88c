"""The pages of the reference that are made from the program itself: commands, the API, the schemas of all JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from docs.man import BRACES, group_of, parameters
from shaper import cli

OPTION = re.compile(r"(?<![\w`-])(--[a-z][\w-]*)")
"""An option in the text of a help."""
REFERENCES = re.compile(r"#/\$defs/|#/components/schemas/")


def pages() -> dict[str, str]:
    """Each page by the path of its file."""
    made = {"commands.md": "\n".join(_commands()), "api.md": "\n".join(_api()), "schemas.md": "\n".join(_schemas())}
    for name in cli.COMMANDS:
        made[f"commands/{name}.md"] = "\n".join(_command(name))
    return made


def _commands() -> Iterator[str]:
    yield from ("# Commands", "", "What `shaper COMMAND --help` shows, with a page for each command.", "")
    for heading, commands in cli.GROUPS.items():
        yield from (f"## {heading}", "", "| | |", "|---|---|")
        yield from (f"| [shaper {name}](commands/{name}.md) | {summary} |" for name, summary in commands.items())
        yield ""
    yield from ("```{toctree}", ":hidden:", "", *(f"commands/{name}" for name in cli.COMMANDS), "```", "")


def _command(name: str) -> Iterator[str]:
    group = group_of(name)
    command = group.commands[name]
    parent = group.make_context("shaper", ["--help"], resilient_parsing=True)
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield from (f"# shaper {name}", "")
    for paragraph in (command.help or "").split("\n\n"):
        lines = paragraph.splitlines()
        yield from ["```text", *lines[1:], "```", ""] if lines[:1] == ["\b"] else [_text(paragraph), ""]
    pieces = " ".join(piece.translate(BRACES) for piece in command.collect_usage_pieces(context))
    yield from ("```text", f"shaper {name} {pieces}", "```", "")
    for title, records in parameters(command, context).items():
        yield from (f"## {title}", "")
        for names, meaning in records:
            yield from (f"`{names}`", f": {_text(meaning)}", "")
    examples = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
    if examples:
        yield from ("## Examples", "", "```sh", *examples, "```", "")


def _text(text: str) -> str:
    """A paragraph of a help as Markdown, in which options are code."""
    return OPTION.sub(r"`\1`", " ".join(text.split())).replace("<", r"\<").replace("*", r"\*")


def _api() -> Iterator[str]:
    from shaper.control.app import create_app

    document = create_app(_NoShaper(), version="1", known=[]).openapi()
    yield from (
        "# The HTTP API",
        "",
        f"{document['info']['description']} [Control](control.md) shows how it is used.",
        "",
    )
    yield from ("Errors are those of RFC 9457. A running shaper serves this as `/v1/openapi.json`.", "")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from (f"## {method.upper()} {path}", "", operation["description"], "")
            asked = operation.get("parameters", [])
            if asked:
                yield from ("| parameter | type | |", "|---|---|---|")
                for each in asked:
                    yield f"| `{each['name']}` | {_type(each['schema'])} | {_cell(each.get('description', ''))} |"
                yield ""
            if "requestBody" in operation:
                yield from (f"Takes {_type(_content(operation['requestBody']))}.", "")
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    yield from (f"Answers {status}: {_type(_content(answer))}.", "")
    yield from ("## What these are", "")
    for name, schema in document["components"]["schemas"].items():
        yield from (f"### {name}", "", _cell(schema.get("description", "")), "", *_properties(schema))


class _NoShaper:
    """Stands for a running shaper: its API is described, and never called."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _content(body: dict[str, Any]) -> dict[str, Any]:
    for content in body.get("content", {}).values():
        schema: dict[str, Any] = content.get("schema", {})
        return schema
    return {}


def _schemas() -> Iterator[str]:
    yield from (
        "# JSON",
        "",
        "What commands write with `--json`, as JSON Schemas say it. The schemas are installed in",
        "",
    )
    yield from ("`shaper/schemas`. Times that end in `_ns` are nanoseconds.", "")
    for file in sorted(files("shaper.schemas").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            schema = json.loads(file.read_text())
            yield from (f"## {file.name.removesuffix('.json')}", "", f"{schema['title']}.", "", *_properties(schema))
            for name, part in schema.get("$defs", {}).items():
                if "properties" in part:
                    yield from (f"**{name}**: {_cell(part.get('description', ''))}", "", *_properties(part))


def _properties(schema: dict[str, Any]) -> Iterator[str]:
    if not schema.get("properties"):
        return
    required = schema.get("required", [])
    yield from ("| | type | |", "|---|---|---|")
    for name, part in schema["properties"].items():
        mark = "" if name in required else "?"
        yield f"| `{name}`{mark} | {_type(part)} | {_cell(part.get('description', ''))} |"
    yield ""


def _type(schema: dict[str, Any]) -> str:
    """A type in words."""
    if "$ref" in schema:
        return f"*{REFERENCES.sub('', schema['$ref'])}*"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(part) for part in schema[key])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", r"\<")
