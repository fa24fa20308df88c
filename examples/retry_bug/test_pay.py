"""An order that is lost once is paid once: pytest test_pay.py"""

import subprocess
import sys
from pathlib import Path

import pytest

PAY = Path(__file__).with_name("pay.py")


@pytest.mark.shaper("fates:tcp/7100 #1 original data 1: drop")
def test_a_lost_order_is_paid_once() -> None:
    subprocess.run([sys.executable, PAY, "--with-number"], check=True)
