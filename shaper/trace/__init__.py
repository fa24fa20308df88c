"""Kernel tracing: recorders and readers -> one event model -> blocking analysis -> attribution to packets."""
