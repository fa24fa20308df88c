"""Damaged inputs for everything that shaper reads: each is read, or refused in one line."""
