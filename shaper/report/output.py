"""Where a command's report and its JSON document go.

With `--json` and no file, the document is all that goes to standard output, so that it
can be piped; the report of what was measured then goes to standard error. A listing,
which has no more than the document, is not printed beside it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, TextIO

from shaper.errors import ShaperError
from shaper.report.table import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    class PlainText(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)


STDOUT = Path("-")
"""What `--json` without a file stands for."""
IS_QUIET = ContextVar("IS_QUIET", default=False)
"""Whether reports are not printed, nor how far a command is: only what was asked for by an option, and errors."""
WIDTH = 80
"""Columns of a report."""


def say(text: str) -> None:
    """Print what a command did, unless nobody wants to know."""
    if not IS_QUIET.get():
        print(text)


def console(document: Path | None, *, is_listing: bool = False) -> Console:
    """Where the report for people goes, at most 80 columns wide.

    Text is printed as it is: in names and addresses of others, [a] is no markup, :b: no emoji, and what would control
    the terminal is replaced.

    Args:
        document: where the JSON document goes; None if none is wanted.
        is_listing: the report and the document say the same, so that nobody wants both at once.
    """
    from rich.console import Console

    class PlainText(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    _replace_what_cannot_be_written()
    is_piped = document == STDOUT
    is_unwanted = is_piped if is_listing else IS_QUIET.get()
    made = PlainText(
        stderr=is_piped,
        quiet=is_unwanted,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )
    made.width = min(made.width, WIDTH)
    return made


@contextmanager
def document(path: Path | None) -> Iterator[Path | TextIO | None]:
    """Opens the file of `--json` early: at its end, a process may no longer be allowed to. See `write_json`.

    The file always holds a document. Until the real one is written, it is an `error` that says so.

    Raises:
        OSError: the file can't be written.
    """
    if path is None or path == STDOUT:
        yield path
        return
    with path.open("w" if path.exists() and not path.is_file() else "w+", encoding="utf-8", errors="replace") as file:
        if _is_replaceable(file):
            write_json(error("shaper is still running, or was killed before it could write this"), file)
        try:
            yield file
        except ShaperError as failure:
            if _is_replaceable(file):
                write_json(error(str(failure)), file)
            raise
        finally:
            if _is_replaceable(file) and path.is_file() and not path.samefile(f"/proc/self/fd/{file.fileno()}"):
                # Meanwhile `keep_json` has put another one in its place.
                file.seek(0)
                _replace(path, file.read())


def error(text: str) -> dict[str, Any]:
    """The document of a command that failed."""
    return {"v": 1, "error": text}


def write_json(content: dict[str, Any], document: Path | TextIO | None) -> None:
    """Write the document where `--json` says; without `--json`, write nothing.

    Raises:
        OSError: the file can't be written.
    """
    import json

    if document is None:
        return
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if document == STDOUT:
        _replace_what_cannot_be_written()
        sys.stdout.write(text)
    elif not isinstance(document, Path):
        if _is_replaceable(document):
            document.seek(0)
            document.truncate()
        document.write(text)
        document.flush()
    else:
        document.write_text(text, encoding="utf-8", errors="replace")


def keep_json(content: dict[str, Any], path: Path) -> None:
    """Put this document into the file of `document` for now, all at once; without effect if it can't be replaced."""
    import json

    if path.is_file() and not path.is_symlink():
        _replace(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _replace(path: Path, text: str) -> None:
    """Put another file with this text in the place of one, as far as that is permitted."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        beside.write_text(text, encoding="utf-8", errors="replace")
        beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)


def _replace_what_cannot_be_written() -> None:
    """Names of files and programs may hold what no encoding can write. Standard error never fails because of that."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _is_replaceable(file: TextIO) -> bool:
    """Whether what was written can be replaced: in a file it can, in a pipe or a terminal it can't."""
    return S_ISREG(os.fstat(file.fileno()).st_mode)
