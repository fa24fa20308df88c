"""What people use instead of shaper, written as they usually write it; each is a program of its own."""
