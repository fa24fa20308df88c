"""How much of the time of real programs is explained, and whether that is what a delay costs them.

Each pair, a server and its client, runs under pass_through and under a delay, traced both
times. What the delay costs is the difference of the two durations. Beside it is what the
glance says was held by the delay: that comes from one run alone. Nothing is installed; a
pair whose programs are missing is named.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.table import Table

from bench.compiled import BenchError
from bench.plan import Figures, Found, Plan, interleave_conditions, say
from bench.subjects import NOT_COMPILED

DELAY = 40
"""Of each packet, in ms."""
POSTGRES = "/usr/lib/postgresql"
CONTROLS = ("reno", "cubic", "bbr")
"""Congestion controls, set by the route: the sysctl of a private network takes only those that the machine allows."""
NOT_THERE = 99
"""The exit status of a run whose congestion control the kernel doesn't have."""
BEGIN = """
cd "$1" && export PATH="$PATH:/usr/sbin:$2"
ip -4 route replace local 127.0.0.1 dev lo table local congctl {control} || exit {refused}
listens() {{ until grep -q ":$(printf %04X $1) .* $2 " /proc/net/tcp /proc/net/udp; do sleep 0.05; done; }}
"""
END = """
kill $server
wait $server
exit 0
"""


class Pair(NamedTuple):
    """A server and its client.

    Attributes:
        needs: the programs.
        script: starts the server, whose process is $server, and runs the client to its end.
    """

    needs: tuple[str, ...]
    script: str


PAIRS = {
    "netcat": Pair(
        ("nc",),
        "nc -lk 127.0.0.1 8765 >/dev/null & server=$!; listens 8765 0A; echo hi | nc -N 127.0.0.1 8765",
    ),
    "http.server, curl": Pair(
        ("python3", "curl"),
        "python3 -m http.server --bind 127.0.0.1 8000 2>/dev/null & server=$!; listens 8000 0A; "
        "curl -s -o x -o y http://127.0.0.1:8000/large http://127.0.0.1:8000/small",
    ),
    "nginx, curl": Pair(
        ("nginx", "curl"),
        "nginx -p . -c nginx.conf & server=$!; listens 8080 0A; "
        "curl -s -o x -o y http://127.0.0.1:8080/large http://127.0.0.1:8080/small",
    ),
    "openssl, curl": Pair(
        ("openssl", "curl"),
        "openssl s_server -accept 127.0.0.1:4433 -key key.pem -cert cert.pem -www -quiet </dev/null & server=$!; "
        "listens 4433 0A; curl -sk -o x https://127.0.0.1:4433/",
    ),
    "redis": Pair(
        ("redis-server", "redis-cli"),
        "redis-server --port 6390 --save '' --bind 127.0.0.1 >/dev/null & server=$!; listens 6390 0A; "
        "printf 'SET a 1\\nINCR a\\nGET a\\n' | redis-cli -p 6390 >/dev/null",
    ),
    "postgres, psql": Pair(
        ("postgres", "psql", "setpriv"),
        "setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D pg >/dev/null 2>&1 & server=$!; "
        "listens 5433 0A; psql -Xqh 127.0.0.1 -p 5433 -U postgres -c 'select 1' "
        "-c \"select repeat('x', 100000)\" >/dev/null",
    ),
    "iperf3": Pair(
        ("iperf3",),
        "iperf3 -s -B 127.0.0.1 -p 5201 >/dev/null & server=$!; listens 5201 0A; "
        "iperf3 -c 127.0.0.1 -p 5201 -n 400K >/dev/null",
    ),
    "dnsmasq, dig": Pair(
        ("dnsmasq", "dig"),
        "dnsmasq -k -p 5353 -C /dev/null --no-resolv --no-hosts --address=/a.test/127.0.0.1 -u root --pid-file= "
        "--listen-address=127.0.0.1 --bind-interfaces & server=$!; listens 5353 07; "
        "dig @127.0.0.1 -p 5353 a.test +short >/dev/null",
    ),
    "mosquitto": Pair(
        ("mosquitto", "mosquitto_sub", "mosquitto_pub"),
        "mosquitto -p 1883 2>/dev/null & server=$!; listens 1883 0A; "
        "mosquitto_sub -h 127.0.0.1 -p 1883 -t t -C 1 >/dev/null & sub=$!; sleep 1; "
        "mosquitto_pub -h 127.0.0.1 -p 1883 -t t -q 1 -m hi; wait $sub",
    ),
}


def measure(plan: Plan) -> Figures:
    """For each congestion control and pair: what the delay costs, what was held, and how much is unexplained."""
    path = _path()
    names = []
    for name, pair in PAIRS.items():
        lacking = [need for need in pair.needs if shutil.which(need, path=path) is None]
        if lacking:
            say(f"not measured: {name}: there is no {', '.join(lacking)} here")
        else:
            names.append(name)
    with _served(path) as where:
        return interleave_conditions(plan.rounds, names, lambda name: _pair(PAIRS[name], where, path), str)


def expected(plan: Plan) -> float:
    return plan.rounds * len(PAIRS) * len(CONTROLS) * 2 * 4


def _path() -> str:
    versions = sorted(Path(POSTGRES).glob("*/bin"), key=lambda path: path.parent.name)
    return ":".join(["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", *map(str, versions)])


@contextmanager
def _served(path: str) -> Iterator[Path]:
    """A directory with what the servers need: files of two sizes, a certificate, a database."""
    with TemporaryDirectory() as directory:
        where = Path(directory)
        where.chmod(0o755)
        (where / "large").write_bytes(bytes(400_000))
        (where / "small").write_bytes(bytes(6_000))
        (where / "nginx.conf").write_text(
            "daemon off; worker_processes 1; user root; pid nginx.pid; error_log nginx.err; events {} "
            f"http {{ access_log off; server {{ listen 127.0.0.1:8080; root {where}; }} }}"
        )
        certificate = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost"
        cluster = (
            "mkdir pg && chown postgres pg && setpriv --reuid=postgres --regid=postgres --clear-groups initdb -D pg -A "
            "trust && printf \"port=5433\\nlisten_addresses='127.0.0.1'\\nunix_socket_directories=''\\n\" "
            ">>pg/postgresql.conf"
        )
        for prepare in (certificate, cluster):
            subprocess.run(["sh", "-c", prepare], cwd=where, env={"PATH": path}, capture_output=True)
        yield where


def _pair(pair: Pair, where: Path, path: str) -> Iterator[tuple[str, Found]]:
    for control in CONTROLS:
        script = BEGIN.format(control=control, refused=NOT_THERE) + pair.script + END
        without, delayed = (_run(policy, script, where, path) for policy in ("pass_through", f"delay:{DELAY}ms"))
        if not without or not delayed:
            say(f"not measured: {control}: this kernel doesn't have it")
            continue
        (spent,) = (each["spent"] for each in delayed["paths"] if each["pid"] == delayed["glance"]["pid"])
        waits = delayed["blockings"]
        yield (
            control,
            {
                "cost": delayed["glance"]["ms"] - without["glance"]["ms"],
                "held": sum(part["ms"] for part in spent if part["on"] == "packets held by delay"),
                "blocked": sum(row["duration_ms"] for row in waits),
                "unexplained": sum(row["unexplained_ms"] for row in waits),
            },
        )


def _run(policy: str, script: str, where: Path, path: str) -> dict[str, Any]:
    """The trace of one run; empty if this congestion control is not to be had."""
    document = where / "document.json"
    line = [NOT_COMPILED, "run", "--policy", policy, "--trace", f"--json={document}", "--", "sh", "-c", script, "sh"]
    done = subprocess.run([*line, str(where), path], capture_output=True, text=True, timeout=60)
    if done.returncode == NOT_THERE:
        return {}
    if done.returncode:
        raise BenchError((done.stderr.strip().splitlines() or ["it failed"])[-1])
    content: dict[str, Any] = json.loads(document.read_text())["trace"]
    return content


def tables(figures: Figures) -> list[Table]:
    found = []
    for control, rows in figures.items():
        table = Table(title=f"A delay of {DELAY} ms for each packet, under {control}", title_justify="left")
        for column in ("", "costs ms", "held on the path, ms", "÷", "unexplained %"):
            table.add_column(column, justify="right" if column else "left")
        for name, row in rows.items():
            unexplained = 100 * row["unexplained"] / row["blocked"]
            ratio = row["held"] / row["cost"]
            table.add_row(name, f"{row['cost']:.0f}", f"{row['held']:.0f}", f"{ratio:.2f}", f"{unexplained:.2f}")
        found.append(table)
    return found
