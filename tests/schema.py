"""The JSON Schemas that shaper ships, for tests of what it writes."""

import json
from functools import cache
from importlib.resources import files

import jsonschema


@cache
def schema(name: str) -> jsonschema.Draft202012Validator:
    """The schema in shaper/schemas/NAME.json."""
    content = json.loads((files("shaper.schemas") / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)
