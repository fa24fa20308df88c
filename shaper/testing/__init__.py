"""The pytest plugin: tests that run in a shaped private network. Other suites load `plugin` alone, and nothing more."""
