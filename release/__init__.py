"""What a release has, and how it is made: used by ./dev, not by shaper."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def files() -> list[Path]:
    """All files under version control, and new ones that git doesn't ignore; relative to ROOT."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(name) for name in names if (ROOT / name).is_file()]


def pyproject() -> dict[str, Any]:
    """The contents of pyproject.toml. The version stands there, and nowhere else."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
