"""shaper measured beside what one would use instead, all in one run."""
