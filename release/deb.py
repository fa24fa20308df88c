"""Builds the package for the Debian or Ubuntu on which it runs: python -m release.deb WHEEL FOLDER

A virtual environment below /usr/lib/shaper, with the versions that requirements.txt pins; Debian's own of some of them
are too old. Beside it the command, man pages, completions, a systemd unit, and examples. The interpreter and the
programs that shaper calls are Debian's: the package depends on them.
"""

from __future__ import annotations

import gzip
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from release import ROOT, pyproject
from release.build import PREFIX

HOME = Path("usr/lib/shaper")
"""Where the environment is; all paths here are relative to the root."""
EXTRAS = ("control", "top")
"""Installed, too: what a long run of `shaper start` is looked at with."""
PROGRAMS = ("iptables", "iproute2", "tcpdump")
"""Debian's packages of the programs that shaper calls."""
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/shaper",
    "zsh": "usr/share/zsh/vendor-completions/_shaper",
    "fish": "usr/share/fish/vendor_completions.d/shaper.fish",
}
MAN = Path("usr/share/man/man1")
UNIT = Path("usr/lib/systemd/system/shaper@.service")
DOCUMENTS = Path("usr/share/doc/nfq-shaper")
CONTROL = """\
Package: nfq-shaper
Version: {version}
Architecture: {architecture}
Section: net
Priority: optional
Maintainer: the authors of shaper <nobody@localhost>
Depends: {depends}
Recommends: passt, strace
Installed-Size: {size}
Description: packet shaper on NFQUEUE, with policies written in Python
 shaper takes packets from the kernel, and lets policies written in Python
 decide when each one goes on, whether it does, and as what. It shows which
 system calls that blocks.
 .
 Run 'shaper doctor' to see what this machine lacks.
"""
SCRIPTS = {
    # Until it starts anew, what runs is the old version, whose files are gone.
    "postinst": """\
if [ "$1" = configure ] && [ -n "$2" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart 'shaper@*.service' || true
fi
""",
    "prerm": """\
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop 'shaper@*.service' || true
fi
""",
    # What `systemctl enable` has left.
    "postrm": """\
if [ "$1" = purge ] && [ -d /etc/systemd/system ]; then
    find /etc/systemd/system -type l -name 'shaper@*.service' -delete
fi
""",
}
"""What dpkg runs, see deb-postinst(5) and its like."""


def build(wheel: Path, into: Path) -> Path:
    """Build the package from a wheel for this Python; returns its file.

    Raises:
        SystemExit: this Python is not the distribution's own.
        subprocess.CalledProcessError: a command failed.
    """
    python = Path(sys.executable).resolve()
    if python.parent != Path("/usr/bin"):
        raise SystemExit(f"dev: {python} is not the distribution's own Python; run `apt-get install python3`")
    with TemporaryDirectory(prefix=PREFIX) as folder:
        root = Path(folder, "root")
        _environment(root, python, wheel)
        _beside(root)
        version = f"{pyproject()['project']['version']}+{_system()}"
        control = CONTROL.format(
            version=version,
            architecture=_output("dpkg", "--print-architecture"),
            depends=", ".join((python.name, *PROGRAMS)),
            size=sum(path.lstat().st_size for path in root.rglob("*")) // 1024,
        )
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN" / "control").write_text(control)
        for name, script in SCRIPTS.items():
            (root / "DEBIAN" / name).write_text(f"#!/bin/sh\nset -e\n{script}")
            (root / "DEBIAN" / name).chmod(0o755)
        into.mkdir(parents=True, exist_ok=True)
        _output("dpkg-deb", "--root-owner-group", "--build", str(root), str(into))
        return into / f"nfq-shaper_{version}_{_output('dpkg', '--print-architecture')}.deb"


def _environment(root: Path, python: Path, wheel: Path) -> None:
    """Install the wheel, and what it needs, as it is once root is the machine's."""
    home = root / HOME
    subprocess.run([python, "-m", "venv", "--without-pip", home], check=True)
    own = str(home / "bin" / "python")
    pip = (sys.executable, "-m", "pip", "--python", own, "--quiet", "--disable-pip-version-check")
    install = (*pip, "install", "--no-compile", "--only-binary=:all:", "--root-user-action=ignore")
    _output(*install, "--require-hashes", "--requirement", str(ROOT / "release" / "requirements.txt"))
    _output(*install, "--no-deps", "--no-index", str(wheel))
    for script in (home / "bin").iterdir():
        if script.name != "shaper" and not script.name.startswith("python"):
            script.unlink()
    command = home / "bin" / "shaper"
    command.write_text(command.read_text().replace(str(root), ""))
    configuration = home / "pyvenv.cfg"
    lines = configuration.read_text().splitlines(keepends=True)
    configuration.write_text("".join(line for line in lines if str(root) not in line))
    for origin in home.rglob("direct_url.json"):
        origin.unlink()
    # Without the times of the sources, which dpkg doesn't keep to the nanosecond.
    compiling = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/")
    _output(str(python), *compiling, str(home / "lib"))


def _beside(root: Path) -> None:
    """Add what is not in the environment."""
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "shaper").symlink_to(Path("..") / HOME.relative_to("usr") / "bin" / "shaper")
    (root / MAN).mkdir(parents=True)
    for page in (root / HOME / "share/man/man1").iterdir():
        (root / MAN / f"{page.name}.gz").write_bytes(gzip.compress(page.read_bytes(), mtime=0))
    shutil.rmtree(root / HOME / "share")
    for shell, script in COMPLETIONS.items():
        (root / script).parent.mkdir(parents=True)
        (root / script).write_text(completion(shell))
    for source, place in packaged_files():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, root / place)
    (root / "etc" / "shaper").mkdir(parents=True)


def packaged_files() -> Iterator[tuple[str, Path]]:
    """The files of the repository that are in the package as they are, and where."""
    yield "contrib/systemd/shaper@.service", UNIT
    yield "contrib/sysctl/90-shaper.conf", DOCUMENTS / "examples" / "90-shaper.conf"
    yield "LICENSE", DOCUMENTS / "copyright"
    yield "README.md", DOCUMENTS / "README.md"
    yield "CHANGELOG.md", DOCUMENTS / "CHANGELOG.md"


def completion(shell: str) -> str:
    """The file by which a shell completes shaper's words, once it is in the shell's own folder for such files."""
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-c", "from shaper.cli import main; main()", "--show-completion", shell]
    script = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    # zsh calls the file itself as a function, at the first Tab.
    return f"{script}\n_shaper_completion\n" if shell == "zsh" else f"{script}\n"


def _system() -> str:
    """The distribution's name and version, such as debian12."""
    release = platform.freedesktop_os_release()
    return release["ID"] + release.get("VERSION_ID", release.get("VERSION_CODENAME", ""))


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    done.check_returncode()
    return done.stdout.strip()


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()))
