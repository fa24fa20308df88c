"""docs/features.md names only what exists, and docs/policies.md is up to date."""

import ast
from pathlib import Path

import pytest

from docs.make import POLICIES, UNCOVERED, Feature, features, policies, spans
from shaper.spec.load import builtin_names, load_pipeline, split_spec
from shaper.timeline import parse
from tests.commands import COMMANDS

ROOT = Path(__file__).parents[2]
OPTIONS = {name for command in COMMANDS.values() for parameter in command.params for name in parameter.opts}

ROWS = features()
COVERED = [row for row in ROWS if row.is_covered]
OTHERS = [row for row in ROWS if not row.is_covered]


def label(row: Feature) -> str:
    return f"{row.program}: {row.name}"


def test_the_document_of_the_policies_is_up_to_date() -> None:
    assert POLICIES.read_text(encoding="utf-8") == policies(), "stale: python -m docs.make"


def test_every_policy_has_a_row() -> None:
    named = {split_spec(spec)[0] for row in COVERED for spec in row.means}
    # A policy that does nothing is no feature.
    assert set(builtin_names()) - named == {"pass_through"}


@pytest.mark.parametrize("row", COVERED, ids=label)
def test_the_policies_options_and_commands_of_a_row_exist(row: Feature) -> None:
    assert row.means, "name a SPEC, an option or a command"
    for name in row.means:
        if name.startswith("--"):
            assert name in OPTIONS
        elif name.startswith("shaper "):
            assert name.removeprefix("shaper ") in COMMANDS
        else:
            load_pipeline([name])


@pytest.mark.parametrize("row", COVERED, ids=label)
def test_the_tests_of_a_row_exist(row: Feature) -> None:
    proofs = spans(row.proof)
    assert proofs
    for proof in proofs:
        path, _, name = proof.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.endswith(".txt"):
            stories = {split_spec(spec)[0] for story in parse(text) for spec in story.specs}
            assert stories
            heads = {split_spec(spec)[0] for spec in row.means}
            assert heads & stories, f"{path} is not about {', '.join(heads)}"
        else:
            assert name in [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("row", OTHERS, ids=label)
def test_a_row_that_is_not_covered_has_a_reason_and_no_test(row: Feature) -> None:
    mark = next(mark for mark in UNCOVERED if row.cover.startswith(mark))
    assert row.cover.removeprefix(mark).strip()
    assert row.proof == "-"
