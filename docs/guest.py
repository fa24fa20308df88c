"""Runs what needs the kernel's own netem: here, or in a throw-away guest whose kernel has it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
MODULES = "modprobe -aq sch_netem nfnetlink_queue dummy act_mirred cls_matchall sch_ingress; ip link set lo up"
WITHIN = 900
"""Seconds that the guest may take."""
NEEDS = (
    "real netem: root, and a kernel with netem (modprobe sch_netem) or what bench/guest/guest.sh downloads, qemu and "
    "a kernel of Debian's"
)


def on_netem(script: str, picture: Path) -> None:
    """Run a script that makes a picture: it writes it to the file named `$PICTURE`.

    A kernel with netem runs it itself, in a network namespace. Otherwise the guest does, in virtual time: load on this
    machine doesn't show. If neither can, the program ends, and the picture stays as it is.
    """
    with TemporaryDirectory() as folder:
        made = Path(folder) / picture.name
        if has_netem():
            command = ["unshare", "-n", "sh", "-c", f"{MODULES}; PICTURE={shlex.quote(str(made))}; {script}"]
        else:
            guest = ["bash", str(ROOT / "bench/guest/guest.sh"), "run", "-t", str(WITHIN), "-o", folder]
            command = [*guest, f"{MODULES}; PICTURE=/out/{picture.name}; {script}"]
        status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
        if status or not made.exists():
            raise SystemExit(f"{picture.name} is kept as it is: the run ended with {status}. It needs {NEEDS}.")
        shutil.copyfile(made, picture)


def has_netem() -> bool:
    """Whether this kernel has netem, tried in a network namespace of its own."""
    attempt = "unshare -n tc qdisc add dev lo root netem delay 1ms"
    return subprocess.run(attempt.split(), capture_output=True, check=False).returncode == 0
