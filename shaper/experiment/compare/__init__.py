"""`shaper compare`: a workload or a command under several conditions, and the waits that a constant delay hides."""
