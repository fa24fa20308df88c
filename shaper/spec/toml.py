"""TOML files that people write: what is wrong in one is reported with its line."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn, Self

from shaper.errors import UsageError
from shaper.spec.load import suggest
from shaper.verbose import detail


class TomlReader:
    """Checks the content of a TOML text, and finds the line of what is wrong.

    Args:
        text: TOML.
        file: its name, for errors.

    Attributes:
        content: as `tomllib` has read it.

    Raises:
        UsageError: the text is not TOML; the error's class is `error`.
    """

    kind = "a file"
    """What the text is, in messages."""
    error: type[UsageError] = UsageError

    def __init__(self, text: str, file: str) -> None:
        self.lines = text.splitlines()
        self.file = file
        try:
            self.content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            message, _, where = str(error).partition(" (at ")
            line = re.search(r"line (\d+)", where)
            raise self.error(f"{file}:{line[1] if line else len(self.lines)}: {message}") from None
        except ValueError:
            raise self.error(f"{file}:1: a number has too many digits") from None
        except RecursionError:
            raise self.error(f"{file}:1: arrays or tables are nested too deeply") from None

    @classmethod
    def of_file(cls, name: str) -> Self:
        """The reader of a file.

        Raises:
            UsageError: there is no such file, or it is not TOML.
            OSError: it can't be read.
        """
        path = Path(name)
        if not path.is_file():
            raise cls.error(f"there is no file {path}")
        try:
            detail(f"reading {name}")
            return cls(path.read_text(encoding="utf-8"), name)
        except UnicodeDecodeError:
            raise cls.error(f"{name} is not in UTF-8, as TOML must be") from None

    def _text(self, table: dict[str, Any], key: str, section: str = "") -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            self._fail(key, f"{key} is a text, in quotes", section)
        return " ".join(value.split())

    def _seed(self) -> str | None:
        seed = self.content.get("seed")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | str)):
            self._fail("seed", "a seed is a number or a text")
        return None if seed is None else str(seed)

    def _check_keys(self, table: dict[str, Any], known: tuple[str, ...], section: str = "", nth: int = 1) -> None:
        for key in table:
            if key not in known:
                where = f"[{section}] has" if section else f"{self.kind} has"
                self._fail(key, f"{where} no '{key}'{suggest(key, known)}; it has {', '.join(known)}", section, nth)

    def _fail(self, key: str, message: str, section: str = "", nth: int = 1, value: str = "") -> NoReturn:
        """Report what is wrong with a key, or with a value of its list."""
        raise self.error(f"{self.file}:{self._line_with(value, self._line_of(key, section, nth))}: {message}") from None

    def _line_of(self, key: str, section: str = "", nth: int = 1) -> int:
        """The line of a key, or the line in which the table of this name begins; 1 if there is none.

        Args:
            key: "" for the table itself.
            section: the table that has the key, "" for the whole file.
            nth: which of the tables of this name.
        """
        inside, seen = "", 0
        for number, line in enumerate(self.lines, 1):
            header = re.match(r"\s*\[+\s*[\"\']?([\w-]+)", line)
            if header:
                inside = header[1]
                seen += inside == section
            is_here = inside == section and (not section or seen == nth)
            if header and (inside == key or (is_here and not key)):
                return number
            if is_here and key and re.match(rf"\s*[\"']?{re.escape(key)}\b", line):
                return number
        return 1

    def _line_with(self, value: str, begin: int) -> int:
        """The line that has this text, of those from `begin` on."""
        # As in single quotes, or with the escapes of double quotes.
        spellings = (value, json.dumps(value)[1:-1])
        for number, line in enumerate(self.lines[begin - 1 :], begin):
            if any(spelling in line for spelling in spellings):
                return number
        return begin
