"""JSON Schemas of what shaper writes, as package data."""
