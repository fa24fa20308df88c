"""The value of --cpu: a list of CPUs that this machine has."""

import os

import pytest

from shaper.cli.shaping import cpu_list
from shaper.errors import UsageError

LAST = max(os.sched_getaffinity(0))


def test_a_list_of_cpus() -> None:
    assert cpu_list(f"{LAST},0-{LAST}") == [LAST, *range(LAST + 1)]


@pytest.mark.parametrize("text", ["0-9999999999", "9999999999", "0,4096"])
def test_cpus_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match=r"there is no CPU \d+ to run on here; there are \d"):
        cpu_list(text)


@pytest.mark.parametrize("text", ["x", "1-", "1-0", "0,,1", ""])
def test_not_a_list_of_cpus(text: str) -> None:
    with pytest.raises(UsageError, match="is not a list of CPUs, such as 1, 0,2 or 0-3"):
        cpu_list(text)
