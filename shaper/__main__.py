"""`python -m shaper` is `shaper`."""

import sys

from shaper.cli import main

sys.exit(main())
