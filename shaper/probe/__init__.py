"""The blocking probe: a real client and a real server process over a shaped path."""
