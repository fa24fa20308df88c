"""Builds the sdist, and from that the pure wheel, which every machine can install: python -m release.build FOLDER

`./dev release` does this, and adds the wheel for its own Python, with the core compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from docs import man
from release import ROOT, files

PREFIX = "release-of-shaper-"
"""How the folder begins in which all is built; it must not be found in what is built."""
SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


def build(into: Path) -> None:
    """Build both into this folder.

    Raises:
        subprocess.CalledProcessError: one of them can't be built.
    """
    into.mkdir(parents=True, exist_ok=True)
    # From a copy, since a build leaves files beside the sources, and takes up what an earlier one has left there.
    with TemporaryDirectory(prefix=PREFIX) as folder:
        source = Path(folder) / "source"
        for file in files():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, source / file)
        man.write(source / "man")
        listed = "".join(f"include {file}\n" for file in files() if " " not in str(file))
        (source / "MANIFEST.in").write_text(f"{listed}graft man\n")
        _run(source, sys.executable, "-c", SDIST, folder)
        (sdist,) = Path(folder).glob("*.tar.gz")
        # From the sdist, which so turns out to be complete.
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        wheel = ("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder)
        _run(source, *pip, *wheel, str(sdist))
        for built in (sdist, *Path(folder).glob("*.whl")):
            shutil.copy(built, into)


def _run(folder: Path, *command: str) -> None:
    environment = {**os.environ, "SHAPER_COMPILED": "0"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    done.check_returncode()


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
