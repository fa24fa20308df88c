"""Tries what is in dist on fresh Debian systems, as docs/install.md says: python -m release.fresh SUITE…

mmdebstrap makes each system: a root file system with little more than apt. The package for Debian is built in it from
the sdist. Then each way of the page's table is taken in a copy that has had no other, up to a program whose packets are
delayed. Prints a line for each way, or what went wrong; the status is then 1. It runs as root, and leaves nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from release import ROOT, pyproject
from shaper.linux.libc import CLONE_NEWNS, unshare

PAGE = ROOT / "docs" / "install.md"
INCLUDED = "ca-certificates,sudo"
"""What a system has beside the packages that Debian calls essential, and apt."""
NETWORK = re.compile(r"(?i)(\w+_proxy|PIP_\w+|UV_\w+|SSL_CERT_\w+)")
"""Variables by which a machine says how it reaches the network."""
SETTINGS = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs")
"""Files that say so; what the machine lacks, the system lacks, too."""
ENTER = """
mount --bind "$1" "$1"
cd "$1"
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mkdir -p .outside
pivot_root . .outside
cd /
umount -l .outside
rmdir .outside
shift
exec "$@"
"""
"""Makes a folder the root, which chroot(8) can't: the kernel allows no user namespaces there."""
TALK = """
import socket, time
server = socket.create_server(("127.0.0.1", 8765))
began = time.monotonic()
client = socket.create_connection(server.getsockname())
print("connected after", int((time.monotonic() - began) * 1000), "ms")
"""
"""A program whose connect(2) waits for two packets."""
VENV = "python3 -m venv ~/venv"
ACTIVATE = ". ~/venv/bin/activate; "


class Fault(Exception):
    """Something went wrong; the message says what, and what was printed."""


@dataclass(frozen=True)
class Way:
    """How somebody gets shaper.

    Attributes:
        packages: those of Debian that he has, as the page says.
        before: what he has run.
        shell: what he types first in each shell.
        folder: where he is.
        checks: what else is checked, once shaper has worked.
    """

    packages: tuple[str, ...] = ()
    before: str = "true"
    shell: str = ""
    folder: str = "/dist"
    checks: Callable[[System], None] | None = None


@dataclass(frozen=True)
class System:
    """A fresh Debian: its root file system."""

    root: Path

    def run(self, command: str, user: str = "user") -> str:
        """What a command prints, in a login shell of this user.

        Raises:
            Fault: its status is not 0.
        """
        inside = ("su", "-l", user, "-c", command)
        enter = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", ENTER, "sh", str(self.root))
        done = subprocess.run(
            [*enter, *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if os.environ.get("SHOW"):
            print(f"--- {user}: {command}\n{done.stdout}", flush=True)
        if done.returncode:
            raise Fault(f"{user}: {command}\n{done.stdout}")
        return done.stdout

    def install(self, *packages: str) -> None:
        """Install packages of Debian."""
        self.run(f"apt-get -qq install --no-install-recommends {' '.join(packages)}", "root")

    @contextmanager
    def copy(self) -> Iterator[System]:
        """A copy of it, for as long as the context lasts."""
        with TemporaryDirectory(prefix="fresh-") as folder:
            upper, work, root = (Path(folder, name) for name in ("upper", "work", "root"))
            for path in (upper, work, root):
                path.mkdir(mode=0o755)
            layers = f"lowerdir={self.root},upperdir={upper},workdir={work},volatile"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, root], check=True)
            try:
                yield System(root)
            finally:
                subprocess.run(["umount", "--lazy", root], check=True)


def check_package(system: System) -> None:
    """What the package has beside the command; and that nothing is left of it."""
    system.install("man-db", "bash-completion", "fish", "zsh", "systemd")
    for page in ("shaper", "shaper-start"):
        text = system.run(f"MANPAGER=cat MANWIDTH=80 man --warnings {page}")
        _expect(text, rf"(?m)^{page.upper()}\(1\)")
    bash = "COMP_WORDS=(shaper doc) COMP_CWORD=1; _shaper_completion shaper; echo ${COMPREPLY[@]}"
    load = ". /usr/share/bash-completion/completions/shaper"
    _expect(system.run(f"bash -c '{load}; {bash}'"), "^doctor$")
    _expect(system.run("fish -c 'complete --do-complete \"shaper doc\"'"), r"^doctor\b")
    _expect(system.run("zsh -fc 'autoload -U compinit; compinit -D -u; echo $_comps[shaper]'"), "^_shaper$")
    _expect(system.run("systemd-analyze verify shaper@lab.service", "root"), "^$")
    system.run("systemctl enable shaper@lab", "root")
    system.run("apt purge nfq-shaper", "root")
    others = " -o ".join(f"-path {path}" for path in ("/dist", "/source", "/var/cache/man"))
    left = rf"find / -xdev \( {others} \) -prune -o -regex '.*/\(nfq[_-]\|_\)?shaper[^/]*' -print"
    _expect(system.run(left, "root"), "^$")


def check_man(system: System) -> None:
    """The wheel's man pages."""
    system.install("man-db")
    _expect(system.run(f"[ ! -e ~/venv ] || {ACTIVATE}MANPAGER=cat man shaper-run"), "(?m)^SHAPER-RUN")


def check_man_of_pipx(system: System) -> None:
    """The same, where pipx is 1.3 or later."""
    major, minor, *_ = map(int, system.run("pipx --version").strip().split("."))
    if (major, minor) >= (1, 3):
        check_man(system)


def check_uvx(system: System) -> None:
    """The second command of uv's row."""
    _, without = _commands(rows()["uv"][0])
    _expect(system.run(f"{without} --version"), "^shaper ")


WAYS = {
    "Debian 12 or later, and root": Way(checks=check_package),
    "pipx": Way(("pipx",), checks=check_man_of_pipx),
    "uv": Way(("pipx",), "pipx install uv", checks=check_uvx),
    "a virtual environment, for tests": Way(("python3-venv",), VENV, ACTIVATE, checks=check_man),
    "this source": Way(("python3-venv", "gcc", "python3-dev"), VENV, ACTIVATE, "/source"),
}
"""By the first column of the page's table."""


def rows() -> dict[str, tuple[str, str]]:
    """The page's table: what somebody has, what he runs, and what then."""
    found = re.findall(r"^\| ([^|`]+) \| ([^|]*`[^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    made: dict[str, tuple[str, str]] = {}
    for has, runs, then in found:
        made[has] = (runs, list(made.values())[-1][1] if then.startswith("the same") else then)
    return made


def _commands(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _expect(text: str, pattern: str) -> None:
    if not re.search(pattern, text):
        raise Fault(f"no {pattern!r} in:\n{text}")


def take(name: str, fresh: System) -> str:
    """Take one way in a copy of a system; returns what there is then, in a line.

    Raises:
        Fault: it leads nowhere.
    """
    way, (runs, then) = WAYS[name], rows()[name]
    with fresh.copy() as system:
        if way.packages:
            system.install(*way.packages)
        system.run(way.before)
        first, _ = [*_commands(runs), ""][:2]
        system.run(f"{way.shell}cd {way.folder} && {first}", "root" if first.startswith("apt") else "user")
        for command in _commands(then):
            system.run(command, "root")
        shaper = f'{way.shell}sudo "$(command -v shaper)"'
        version = system.run(f"{way.shell}shaper --version").strip()
        _expect(version, rf"^shaper {re.escape(pyproject()['project']['version'])}\b")
        green = _doctor(system, shaper)
        system.install("python3")
        run, talk = "run --policy delay:time=20ms", f"-- python3 -c {_quoted(TALK)}"
        # AppArmor may allow no user namespaces.
        is_allowed = "user namespaces" not in _missing(system, f"{way.shell}shaper")
        _expect(
            system.run(f"{f'{way.shell}shaper' if is_allowed else shaper} {run} {talk}"), r"after [4-9]\d|after \d{3}"
        )
        _expect(system.run(f"{shaper} {run} --trace {talk}"), r"connect \d* *packet SYN-ACK")
        if way.checks:
            way.checks(system)
    return f"{version}; {green}"


def _doctor(system: System, shaper: str) -> str:
    """Install what `shaper doctor` names; returns what is missing even then.

    Raises:
        Fault: the kernel is not all that lacks something.
    """
    first = _missing(system, shaper)
    mends = sorted({mend for mend in first.values() if mend.startswith("sudo apt install ")})
    for mend in mends:
        system.run(mend)
    kernel = _missing(system, shaper)
    if others := {name: mend for name, mend in kernel.items() if not mend.startswith("sudo modprobe ")}:
        raise Fault(f"missing even now: {others}")
    added = f"`shaper doctor` had {', '.join(mend.rpartition(' ')[2] for mend in mends)} installed; " if mends else ""
    return f"{added}the kernel lacks {', '.join(kernel) or 'nothing'}"


def _missing(system: System, shaper: str) -> dict[str, str]:
    """What `shaper doctor` finds missing, and what it says to do."""
    said = json.loads(system.run(f"{shaper} doctor --json || true"))
    return {each["name"]: each["mend"] for each in said["requirements"] if each["status"] != "ok"}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


@contextmanager
def fresh_system(suite: str) -> Iterator[System]:
    """A system of this suite, such as trixie, with the files of dist in /dist, and the sdist's in /source."""
    with TemporaryDirectory(prefix="fresh-") as folder:
        root = Path(folder, "root")
        options = ("--quiet", "--variant=minbase", f"--include={INCLUDED}", *_apt_options())
        subprocess.run(["mmdebstrap", *options, suite, root], check=True)
        root.chmod(0o755)
        Path(folder).chmod(0o755)
        for setting in filter(os.path.exists, SETTINGS):
            there = root / setting.lstrip("/")
            if os.path.isdir(setting):
                shutil.rmtree(there)
                shutil.copytree(setting, there, ignore_dangling_symlinks=True)
            else:
                shutil.copyfile(setting, there)
        variables = {name: value for name, value in os.environ.items() if NETWORK.fullmatch(name)}
        variables |= {"LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        variables |= {"PIP_FIND_LINKS": "/dist", "UV_FIND_LINKS": "/dist"}
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        (root / "etc" / "environment").write_text(lines)
        (root / "etc" / "apt" / "apt.conf.d" / "yes").write_text('APT::Get::Assume-Yes "true";\n')
        shutil.copytree(ROOT / "dist", root / "dist", ignore=shutil.ignore_patterns("*.deb"))
        system = System(root)
        system.run("useradd --create-home --shell /bin/bash user", "root")
        system.run("echo 'user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user; apt-get -qq update", "root")
        system.run("mkdir source && tar -xzf /dist/*.tar.gz -C source --strip-components 1", "root")
        system.run("chown -R user: /root/source && mv /root/source /source", "root")
        yield system


def _apt_options() -> Iterator[str]:
    """How this machine's apt reaches the archive: its proxy, and whether a mirror may be behind."""
    dump = subprocess.run(["apt-config", "dump"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in dump.splitlines():
        if line.startswith(("Acquire::Check-", "Acquire::http")):
            yield f"--aptopt={line}"


def attempt(what: str, action: Callable[[], str]) -> bool:
    """Whether an action succeeds; prints a line with what it returns, or what went wrong."""
    began = time.monotonic()
    try:
        said = action()
    except Fault as fault:
        print(f"{what}: FAILED: {fault}", flush=True)
        return False
    print(f"{what}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    return True


def build_package(system: System) -> str:
    """Build the package in a copy of a system, and put it into that system's /dist; returns its name."""
    with system.copy() as copy:
        copy.run("cd /source && ./dev deb", "root")
        (package,) = (copy.root / "source" / "dist").glob("*.deb")
        shutil.copy(package, system.root / "dist")
        return package.name


def main(*suites: str) -> int:
    """Try all ways on each of these; returns the exit status."""
    unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    right = True
    for suite in suites:
        with fresh_system(suite) as system:
            right &= attempt(f"{suite}: ./dev deb", partial(build_package, system))
            for name in WAYS:
                right &= attempt(f"{suite}: {name}", partial(take, name, system))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
