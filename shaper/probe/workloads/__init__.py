"""The workloads, one per file; the file's name is the workload's name."""
