"""The Chaos Toolkit runs the experiments of docs/chaos: a sound shop passes, one with a weakness deviates."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "chaos"
SHOPS = {
    "late": ("late", [], False),
    "late, a shop that waits for ever": ("late", ["--timeout", "0"], True),
    "lost": ("lost", [], False),
    "lost, a shop that tries once": ("lost", ["--tries", "1"], True),
}
# With a /run of its own, for the control socket.
SCRIPT = """
mount -t tmpfs none /run && ip link set lo up
journal=$1 experiment=$2 python=$3 chaos=$4 shop=$5
shift 5
"$python" "$shop" "$@" 2>shop.log &
until grep -q :1F90 /proc/net/tcp; do sleep 0.02; done
"$chaos" --no-version-check --log-file log run --journal-path "$journal" "$experiment"
status=$?
kill $!
iptables-save | grep shaper
ls /run/shaper
exit $status
"""


@pytest.mark.alone
def test_the_experiments(namespaces: None, tmp_path: Path) -> None:
    running = {}
    for case, (experiment, options, _) in SHOPS.items():
        folder = tmp_path / case
        folder.mkdir()
        arguments = ("journal.json", str(DOCS / f"{experiment}.yaml"), sys.executable)
        programs = (str(Path(sys.executable).parent / "chaos"), str(DOCS / "shop.py"))
        line = ["unshare", "--net", "--mount", "sh", "-c", SCRIPT, "sh", *arguments, *programs, *options]
        running[case] = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for case, process in running.items():
        said, errors = process.communicate(timeout=120)
        journal: dict[str, Any] = json.loads((tmp_path / case / "journal.json").read_text())
        experiment, _, is_weak = SHOPS[case]
        activities = (*journal["run"], *journal["rollbacks"])
        assert all(activity["status"] == "succeeded" for activity in activities), (case, said, errors)
        assert (journal["deviated"], process.returncode) == (is_weak, int(is_weak)), (case, said, errors)
        (stopped,) = journal["rollbacks"]
        assert stopped["output"]["taken"] > 0
        assert stopped["output"]["bypassed"] == 0
        assert stopped["output"]["dropped"] == int(experiment == "lost")
        # No rule and no control socket is left.
        assert said.strip() == "", said
